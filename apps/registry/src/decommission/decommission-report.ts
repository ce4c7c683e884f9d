import {
  decommissionStepNameSchema,
  type ClearedMessage,
  type DecommissionReport,
  type DecommissionStep,
  type DecommissionStepName,
  type DeviceId,
  type RetainedMessage,
  type RevocationTrial,
} from '@muster/contract';

/** Another device that owns a topic too. */
export interface SharedTopic {
  readonly topic: string;
  readonly owner: string;
}

/** What a new report is made of. */
export interface NewReport {
  readonly device: DeviceId;
  readonly now: Date;
  readonly brokers: readonly string[];
  readonly filters: readonly string[];
  /** Whether the brokers take their accounts from Muster. */
  readonly managed: boolean;
  /** Whether the device had an account of its own. */
  readonly hadAccount: boolean;
}

/** What a report says of a trial that was not made. */
export const NO_TRIAL: RevocationTrial = { state: 'not-tried', reason: null, brokers: [] };
const EXTERNAL = 'account: these brokers have their accounts elsewhere; take it away there';

/** A step that nobody has begun. */
export function emptyStep(name: DecommissionStepName): DecommissionStep {
  return { name, state: 'waiting', startedAt: null, finishedAt: null, waitsFor: [] };
}

/** The report of a decommissioning that has just begun: its tombstone is there, and its account has been taken away. */
export function newReport({ device, now, brokers, filters, managed, hadAccount }: NewReport): DecommissionReport {
  const begun: DecommissionReport = {
    device,
    state: 'incomplete',
    requestedAt: now.toISOString(),
    verifiedAt: null,
    doneAt: null,
    steps: decommissionStepNameSchema.options.map(emptyStep),
    brokers: [...brokers],
    account: {
      state: !managed ? 'external' : hadAccount ? 'revoked' : 'none',
      version: null,
      brokers: [],
      revocation: NO_TRIAL,
    },
    services: [],
    sessions: [],
    session: { state: 'waiting', clientId: null, reason: null, tried: [] },
    filters: [...filters],
    before: [],
    cleared: [],
    after: [],
    verification: [],
    kept: [],
    notDone: [],
    signature: null,
  };
  return withStep(begun, 'tombstone', now, 'done');
}

/** How far a step of a report is. */
export function stepOf(report: DecommissionReport, name: DecommissionStepName): DecommissionStep {
  return report.steps.find((step) => step.name === name) ?? emptyStep(name);
}

/** Whether nothing holds the steps up any more that come after this one. */
export function isPassed(report: DecommissionReport, name: DecommissionStepName): boolean {
  return stepOf(report, name).state !== 'waiting';
}

/** A report with a step begun, waiting for something, or at its end; `notDone` says what the steps wait for. */
export function withStep(
  report: DecommissionReport,
  name: DecommissionStepName,
  now: Date,
  state: DecommissionStep['state'],
  waitsFor: readonly string[] = [],
): DecommissionReport {
  const steps = report.steps.map((step): DecommissionStep => {
    if (step.name !== name || (step.state !== 'waiting' && state !== 'waiting')) return step;
    const at = now.toISOString();
    const startedAt = step.startedAt ?? at;
    return { name, state, startedAt, finishedAt: state === 'waiting' ? null : at, waitsFor: [...waitsFor] };
  });
  return withNotDone({ ...report, steps });
}

/** A report in which the work of a step has begun; one that has begun before keeps its time. */
export function withStart(report: DecommissionReport, name: DecommissionStepName, now: Date): DecommissionReport {
  const { state, startedAt, waitsFor } = stepOf(report, name);
  return state === 'waiting' && startedAt === null ? withStep(report, name, now, 'waiting', waitsFor) : report;
}

/** A step that is done where nothing is left to wait for, and waits otherwise. */
export function settled(
  report: DecommissionReport,
  name: DecommissionStepName,
  now: Date,
  waitsFor: readonly string[],
): DecommissionReport {
  return withStep(report, name, now, waitsFor.length === 0 ? 'done' : 'waiting', waitsFor);
}

/** A report whose `notDone` says what its steps wait for. */
export function withNotDone(report: DecommissionReport): DecommissionReport {
  const { session, account, steps } = report;
  return {
    ...report,
    notDone: [
      ...steps.flatMap(({ state, waitsFor }) => (state === 'waiting' ? waitsFor : [])),
      ...(session.state === 'not-purged'
        ? [`session: not purged: ${session.reason ?? 'its client id is unknown'}`]
        : []),
      ...(account.state === 'external' ? [EXTERNAL] : []),
      ...(stepOf(report, 'save').state === 'not-applicable'
        ? [
            `save: no agent to force a save on ${report.brokers.join(', ')}; what a crash brings back before they save by themselves is a ghost, which asking again clears`,
          ]
        : []),
    ],
  };
}

/** What the services that run say about the tombstone. */
export function withServices(
  report: DecommissionReport,
  services: readonly DecommissionReport['services'][number][],
  now: Date,
): DecommissionReport {
  const waitsFor = services
    .filter(({ applied }) => !applied)
    .map(({ service }) => `${service}: does not refuse its messages yet; nothing is cleared before it does`);
  return settled({ ...report, services: [...services] }, 'services', now, waitsFor);
}

/** What an attempt to take an account away found out. */
export interface AccountFindings {
  readonly version: number | null;
  readonly brokers: DecommissionReport['account']['brokers'];
  readonly trials: RevocationTrial['brokers'];
  /** Why there was nothing to try; null where there was. */
  readonly nothingToTry: string | null;
  /** What went wrong on a broker. */
  readonly faults: ReadonlyMap<string, string>;
}

/** A report with what is known of the account: refused only when every broker has refused it. */
export function withAccount(report: DecommissionReport, findings: AccountFindings, now: Date): DecommissionReport {
  const { version, brokers, faults, nothingToTry } = findings;
  const before = report.account.revocation.brokers;
  const tried = new Set(findings.trials.map(({ broker }) => broker));
  const trials = [...before.filter(({ broker }) => !tried.has(broker)), ...findings.trials].sort(byBroker);
  const isExternal = report.account.state === 'external';
  const isRefused = report.brokers.every((name) => trials.some(({ broker }) => broker === name));
  const state = isExternal
    ? 'external'
    : nothingToTry !== null
      ? 'not-applicable'
      : isRefused
        ? 'refused'
        : 'not-tried';
  const behind = brokers.filter(({ applied }) => !applied).map(({ broker }) => broker);
  const waitsFor = [
    ...behind.map((broker) => `${broker}: its agent has not taken the account away yet`),
    ...[...faults].map(([broker, fault]) => `${broker}: ${fault}`),
    ...(state === 'not-tried' && behind.length === 0 && faults.size === 0 ? ['the account was not tried yet'] : []),
  ];
  const revocation = { state, reason: nothingToTry, brokers: trials } satisfies RevocationTrial;
  const account = { ...report.account, version, brokers: [...brokers], revocation };
  return settled({ ...report, account }, 'account', now, waitsFor);
}

function byBroker(left: { readonly broker: string }, right: { readonly broker: string }): number {
  return left.broker < right.broker ? -1 : left.broker > right.broker ? 1 : 0;
}

/** Whether a broker lets the device in no more. */
export function isRevoked({ account }: DecommissionReport, broker: string): boolean {
  return (
    account.state === 'external' ||
    (account.brokers.some((one) => one.broker === broker && one.applied) &&
      (account.revocation.state === 'not-applicable' ||
        account.revocation.brokers.some((trial) => trial.broker === broker)))
  );
}

/** Whether a broker neither lets the device in nor has a session of it: only then is anything cleared there. */
export function isShutOut(report: DecommissionReport, broker: string): boolean {
  const { state, tried } = report.session;
  return isRevoked(report, broker) && (state !== 'waiting' || tried.includes(broker));
}

/** What an attempt to end a device's sessions found out. */
export interface SessionFindings {
  readonly clientId: string;
  /** Why nobody can take its place by that id; undefined where that can be done. */
  readonly refused: string | undefined;
  /** Whether it is certain that the device connects by that id. */
  readonly isKnown: boolean;
  /** Brokers on which its place was taken. */
  readonly tried: readonly string[];
  /** Those of them that had a session. */
  readonly present: readonly string[];
  readonly faults: ReadonlyMap<string, string>;
}

/** A report with what became of the device's sessions. */
export function withSession(report: DecommissionReport, findings: SessionFindings, now: Date): DecommissionReport {
  const { clientId, refused, isKnown, faults } = findings;
  const tried = [...new Set([...report.session.tried, ...findings.tried])].sort();
  const ended = isKnown ? findings.tried : findings.present;
  const sessions = [...new Set([...report.sessions, ...ended])].sort();
  const next = (session: Omit<DecommissionReport['session'], 'tried'>): DecommissionReport => ({
    ...report,
    sessions,
    session: { ...session, tried },
  });
  if (refused !== undefined)
    return withStep(next({ state: 'not-purged', clientId, reason: refused }), 'session', now, 'not-applicable');
  const left = report.brokers.filter((broker) => !tried.includes(broker));
  if (left.length > 0) {
    const waitsFor = left.map((broker) => `${broker}: its session is not ended${why(faults.get(broker))}`);
    return withStep(next({ state: 'waiting', clientId, reason: null }), 'session', now, 'waiting', waitsFor);
  }
  if (isKnown || sessions.length > 0)
    return withStep(next({ state: 'ended', clientId, reason: null }), 'session', now, 'done');
  const reason = `its client id is unknown: no broker had a session by ${clientId}, and it reports no other one in info.client_id`;
  return withStep(next({ state: 'not-purged', clientId: null, reason }), 'session', now, 'not-applicable');
}

function why(fault: string | undefined): string {
  return fault === undefined ? ' yet' : `: ${fault}`;
}

function placeOf({ broker, topic }: { readonly broker: string; readonly topic: string }): string {
  return `${broker} ${topic}`;
}

/**
 * What was found on a broker, to be cleared, and what is not the device's alone. Of each topic the first message is
 * listed: what comes again and again must not make the report grow.
 */
export function withFound(
  report: DecommissionReport,
  found: readonly RetainedMessage[],
  kept: readonly SharedTopic[],
): DecommissionReport {
  const known = new Set(report.before.map(placeOf));
  return {
    ...report,
    before: [...report.before, ...found.filter((message) => !known.has(placeOf(message)))],
    kept: [...new Map([...report.kept, ...kept].map((one) => [one.topic, one])).values()],
  };
}

/** A report with what was cleared; a topic that was cleared before is counted there. */
export function withCleared(report: DecommissionReport, cleared: readonly ClearedMessage[]): DecommissionReport {
  const all = [...report.cleared];
  const places = new Map<string, number>();
  // An earlier version has listed a topic as often as it was cleared: later ones are counted at the first.
  for (const [index, message] of all.entries()) if (!places.has(placeOf(message))) places.set(placeOf(message), index);
  for (const message of cleared) {
    const index = places.get(placeOf(message));
    const first = index === undefined ? undefined : all[index];
    if (index === undefined || first === undefined) {
      places.set(placeOf(message), all.length);
      all.push(message);
      continue;
    }
    const { clearedAt, bytes, sha256 } = message;
    all[index] = { ...first, again: { times: (first.again?.times ?? 0) + 1, lastAt: clearedAt, bytes, sha256 } };
  }
  return { ...report, cleared: all };
}

/** What a look over fresh connections found. */
export interface Look {
  /** When each broker had answered. */
  readonly at: ReadonlyMap<string, Date>;
  readonly left: readonly RetainedMessage[];
  /** Brokers that could not be looked at, and why. */
  readonly faults: ReadonlyMap<string, string>;
}

/** A report after the verification: verified only when every broker was looked at and holds nothing of the device. */
export function withVerification(
  report: DecommissionReport,
  look: Look,
  managed: boolean,
  now: Date,
): DecommissionReport {
  const waitsFor = report.brokers.flatMap((broker) => {
    const left = look.left.filter((message) => message.broker === broker).length;
    if (left > 0) return [`${broker}: ${left} retained ${left === 1 ? 'message is' : 'messages are'} still there`];
    if (look.at.has(broker)) return [];
    return [`${broker}: not verified${why(look.faults.get(broker))}`];
  });
  const looked = settled({ ...report, after: [...look.left] }, 'verify', now, waitsFor);
  if (waitsFor.length > 0) return looked;
  const verified: DecommissionReport = {
    ...looked,
    state: 'verified',
    verifiedAt: now.toISOString(),
    verification: report.brokers.map((broker) => ({
      broker,
      at: (look.at.get(broker) ?? now).toISOString(),
      savedAt: null,
      againAt: null,
    })),
  };
  return managed
    ? withStep(verified, 'save', now, 'waiting', report.brokers.map(notSavedYet))
    : withStep(withStep(verified, 'save', now, 'not-applicable'), 'verify-again', now, 'not-applicable');
}

function notSavedYet(broker: string): string {
  return `${broker}: its agent has not made it write to disk yet; then it is looked at again`;
}

/** A report with what brokers have written to disk since the verification. */
export function withSaves(
  report: DecommissionReport,
  savedAt: ReadonlyMap<string, string>,
  now: Date,
): DecommissionReport {
  const verification = report.verification.map((one) => ({ ...one, savedAt: savedAt.get(one.broker) ?? one.savedAt }));
  const left = verification.filter((one) => one.savedAt === null).map(({ broker }) => notSavedYet(broker));
  const newest =
    verification
      .map((one) => one.savedAt ?? '')
      .sort()
      .at(-1) ?? '';
  const at = left.length === 0 && newest !== '' ? new Date(newest) : now;
  return settled({ ...report, verification }, 'save', at, left);
}

/** A report after the second look, behind the saves; done when that found nothing either. */
export function withSecondVerification(report: DecommissionReport, look: Look, now: Date): DecommissionReport {
  const waitsFor = report.brokers.flatMap((broker) =>
    look.at.has(broker) ? [] : [`${broker}: not looked at again${why(look.faults.get(broker))}`],
  );
  const verification = report.verification.map((one) => ({
    ...one,
    againAt: look.at.get(one.broker)?.toISOString() ?? one.againAt,
  }));
  const looked = settled({ ...report, verification }, 'verify-again', now, waitsFor);
  return waitsFor.length > 0 ? looked : { ...looked, state: 'done', doneAt: now.toISOString() };
}

/** A report of which something has reappeared: it is cleared and verified anew. */
export function reopened(report: DecommissionReport): DecommissionReport {
  const again = new Set<DecommissionStepName>(['clear', 'verify', 'save', 'verify-again']);
  return withNotDone({
    ...report,
    ...{ state: 'incomplete', verifiedAt: null, doneAt: null, verification: [], signature: null },
    steps: report.steps.map((step) => (again.has(step.name) ? emptyStep(step.name) : step)),
  });
}
