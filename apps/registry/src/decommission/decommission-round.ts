import type {
  ClearedMessage,
  DecommissionReport,
  DecommissionStepName,
  DeviceId,
  DeviceInfo,
  RetainedMessage,
} from '@muster/contract';
import { BrokerError, type BrokerTarget } from '@muster/broker';
import { whenTombstonesApplied, type PrismaClient } from '@muster/database';
import type { AccountStore } from '@muster/security';
import type { Logger } from '@muster/service';
import { whyNotTaken, type AccountTrials } from '../access/account-trials.ts';
import { clearTopics, type Clearing } from '../retained/clear-topics.ts';
import { devicesInService } from '../retained/topic-ownership.ts';
import {
  isPassed,
  isRevoked,
  isShutOut,
  reopened,
  settled,
  withAccount,
  withCleared,
  withFound,
  withSaves,
  withSecondVerification,
  withServices,
  withSession,
  withStart,
  withStep,
  withVerification,
  type Look,
} from './decommission-report.ts';
import { isAtRest, type DecommissionStore } from './decommission-store.ts';
import { findTraces, type TraceScope, type Traces } from './device-traces.ts';

const SERVICES_LIMIT_MS = 6_000;
const APPLIED_LIMIT_MS = 5_000;

/** What rounds are made with. */
export interface RoundParts {
  readonly database: PrismaClient;
  readonly store: DecommissionStore;
  readonly accounts: AccountStore;
  readonly trials: AccountTrials;
  readonly managed: boolean;
  readonly brokers: readonly BrokerTarget[];
  readonly logger: Logger;
}

/** A device in a round; its report is replaced with each step. */
interface Work {
  readonly device: DeviceId;
  readonly info: DeviceInfo | null;
  readonly scope: TraceScope;
  report: DecommissionReport;
}

/** What became of a round. */
export interface RoundResult {
  readonly reports: readonly DecommissionReport[];
  /** Something has reappeared of them: they are to be cleared again. */
  readonly haunted: readonly DeviceId[];
}

/**
 * One attempt for many devices at once: each step is done for all of them with few connections, and is on record before
 * the next begins. What a step waits for is in the report; another round goes on there.
 */
export class DecommissionRound {
  readonly #parts: RoundParts;
  readonly #closing: AbortSignal;
  #keeping: Promise<unknown> = Promise.resolve();

  /** @param closing from then on it throws when a step is on record */
  constructor(parts: RoundParts, closing: AbortSignal) {
    this.#parts = parts;
    this.#closing = closing;
  }

  /** Takes devices as far as they come, and answers their reports, and of which of them something has reappeared. */
  async run(devices: readonly DeviceId[]): Promise<RoundResult> {
    const { store, managed } = this.#parts;
    const open = await store.open(devices);
    const scopes = await store.scopes(open.map(({ report, info }) => ({ device: report.device, info })));
    const savedAt = new Map(open.map((one) => [one.report.device, one.savedAt]));
    const works = open.flatMap(({ report, info }): Work[] => {
      const scope = scopes.get(report.device);
      return scope === undefined ? [] : [{ device: report.device, info, scope, report }];
    });
    const attempts = works.filter(({ report }) => report.state === 'incomplete');
    const rested = works.filter(({ report }) => isAtRest(report, managed));
    const verified = works.filter(
      ({ device, report }) =>
        report.state === 'verified' &&
        managed &&
        report.brokers.every((broker) => savedAt.get(device)?.has(broker) === true),
    );
    await allSettled(
      this.#attempt(attempts),
      this.#verifyAgain(verified, (device) => savedAt.get(device) ?? new Map()),
      this.#lookForGhosts(rested),
    );
    const haunted = [...verified, ...rested].filter(({ report }) => report.state === 'incomplete');
    return { reports: works.map(({ report }) => report), haunted: haunted.map(({ device }) => device) };
  }

  async #attempt(works: readonly Work[]): Promise<void> {
    if (works.length === 0) return;
    await allSettled(this.#services(works.filter(({ report }) => !isPassed(report, 'services'))), this.#shutOut(works));
    const refused = works.filter(({ report }) => isPassed(report, 'services'));
    // What a service still takes from the device could come back as soon as it is cleared.
    await this.#clear(refused);
    await this.#verify(refused.filter(({ report }) => isPassed(report, 'clear')));
  }

  async #services(works: readonly Work[]): Promise<void> {
    if (works.length === 0) return;
    this.#start(works, 'services');
    const services = await whenTombstonesApplied(this.#parts.database, SERVICES_LIMIT_MS);
    await this.#step(works, (report) => withServices(report, services, new Date()));
  }

  /** Account and session: after that the broker neither lets the device in nor keeps anything for it. */
  async #shutOut(works: readonly Work[]): Promise<void> {
    const open = works.filter(({ report }) => !isPassed(report, 'account'));
    const own = open.filter(({ report }) => report.account.state === 'revoked');
    const others = open.filter(({ report }) => report.account.state !== 'revoked');
    this.#start(open, 'account');
    await allSettled(this.#tryAccounts(own), this.#withoutAccounts(others));
    await this.#endSessions(works.filter(({ report }) => !isPassed(report, 'session')));
  }

  async #tryAccounts(works: readonly Work[]): Promise<void> {
    if (works.length === 0) return;
    const { version, applied, findings } = await this.#parts.trials.try(works.map(({ device }) => device));
    await this.#step(works, (report) => {
      const found = findings.get(report.device);
      const account = withAccount(
        report,
        {
          version: Number(version),
          brokers: [...applied],
          ...{ trials: found?.trials ?? [], nothingToTry: null, faults: found?.faults ?? new Map() },
        },
        new Date(),
      );
      return { ...account, sessions: [...new Set([...account.sessions, ...(found?.sessions ?? [])])].sort() };
    });
  }

  async #withoutAccounts(works: readonly Work[]): Promise<void> {
    if (works.length === 0) return;
    const { managed, accounts, brokers } = this.#parts;
    const version = managed ? await accounts.version() : undefined;
    const names = brokers.map(({ name }) => name);
    // An account that it had until just now must be gone on every broker, too.
    const applied = version === undefined ? [] : await accounts.whenApplied(names, version, APPLIED_LIMIT_MS);
    const nothingToTry = !managed ? null : (await accounts.isShared()) ? 'shared account' : 'it had no account';
    const findings = {
      ...{ version: version === undefined ? null : Number(version), brokers: [...applied] },
      ...{ trials: [], nothingToTry, faults: new Map<string, string>() },
    };
    await this.#step(works, (report) => withAccount(report, findings, new Date()));
  }

  async #endSessions(works: readonly Work[]): Promise<void> {
    if (works.length === 0) return;
    this.#start(works, 'session');
    const { database, trials } = this.#parts;
    const claimed = works.flatMap(({ device, info }) =>
      info?.client_id === undefined || info.client_id === device ? [] : [info.client_id],
    );
    const inService = await devicesInService(database, claimed);
    const wanted = works.map(({ device, info, report }) => {
      const clientId = info?.client_id ?? device;
      const hadAccount = report.account.state === 'revoked';
      // The trial of its own account was a clean start with its id, which is then its client id.
      const purged = hadAccount ? report.sessions : [];
      const isDone = (broker: string): boolean => purged.includes(broker) || report.session.tried.includes(broker);
      return {
        ...{ device, purged, isKnown: hadAccount || info?.client_id !== undefined },
        clientId: hadAccount ? device : clientId,
        refused: hadAccount ? undefined : whyNotTaken(clientId, clientId !== device && inService.has(clientId)),
        brokers: report.brokers.filter((broker) => !isDone(broker) && isRevoked(report, broker)),
      };
    });
    const ended = await trials.endSessions(wanted.filter(({ refused }) => refused === undefined));
    const byDevice = new Map(wanted.map((one) => [one.device, one]));
    await this.#step(works, (report) => {
      const { clientId = report.device, refused, isKnown = false, purged = [] } = byDevice.get(report.device) ?? {};
      const found = ended.get(report.device);
      return withSession(
        report,
        {
          ...{ clientId, isKnown, refused: refused ?? found?.refused },
          tried: [...purged, ...(found?.tried ?? [])],
          present: found?.present ?? [],
          faults: found?.faults ?? new Map(),
        },
        new Date(),
      );
    });
  }

  /** Each broker that shuts the device out is cleared, also where another one is away. */
  async #clear(works: readonly Work[]): Promise<void> {
    if (works.length === 0) return;
    this.#start(works, 'clear');
    const faults = new Map<string, string>();
    const traces = await this.#look(works, (work, broker) => isShutOut(work.report, broker), faults);
    await this.#step(works, (report) => {
      const found = [...traces.values()].flatMap(({ own }) => own.get(report.device) ?? []);
      const kept = [...traces.values()].flatMap((one) => one.kept.get(report.device) ?? []);
      return withStep(
        withFound(report, found, kept),
        'clear',
        new Date(),
        'waiting',
        waitingBrokers(report, traces, faults),
      );
    });
    const clearings = new Map<string, Map<string, Clearing>>();
    await Promise.all(
      this.#parts.brokers.map(async (broker) => {
        const topics = new Set([...(traces.get(broker.name)?.own.values() ?? [])].flat().map(({ topic }) => topic));
        const cleared = new Map<string, Clearing>();
        clearings.set(broker.name, cleared);
        await this.#onBroker(broker, faults, () => clearTopics(broker, topics, cleared));
      }),
    );
    await this.#step(works, (report) => {
      const cleared: ClearedMessage[] = [];
      const waitsFor = waitingBrokers(report, traces, faults);
      for (const [broker, { own }] of traces)
        for (const message of own.get(report.device) ?? []) {
          const clearing = clearings.get(broker)?.get(message.topic);
          if (clearing === undefined) continue;
          if ('fault' in clearing) waitsFor.push(`${broker}: ${clearing.fault}`);
          else cleared.push({ ...message, ...clearing });
        }
      return settled(withCleared(report, cleared), 'clear', new Date(), waitsFor);
    });
  }

  async #verify(works: readonly Work[]): Promise<void> {
    if (works.length === 0) return;
    this.#start(works, 'verify');
    const look = await this.#freshLook(works);
    await this.#step(works, (report) => withVerification(report, look(report.device), this.#parts.managed, new Date()));
    for (const { device, report } of works)
      if (report.state === 'verified')
        this.#parts.logger.info({ device, cleared: report.cleared.length }, 'decommissioned and verified');
  }

  /** The second look, behind a save of every broker: what it finds has reappeared, and is cleared again. */
  async #verifyAgain(
    works: readonly Work[],
    savedAt: (device: DeviceId) => ReadonlyMap<string, string>,
  ): Promise<void> {
    if (works.length === 0) return;
    this.#start(works, 'verify-again');
    const look = await this.#freshLook(works);
    await this.#step(works, (report) => {
      // That the brokers have saved is on record by their agents.
      const saved = withSaves(report, savedAt(report.device), new Date());
      const found = look(report.device);
      return found.left.length > 0 ? reopened(saved) : withSecondVerification(saved, found, new Date());
    });
  }

  /** Looks again where all was done; a broker that does not answer changes nothing of what was proved. */
  async #lookForGhosts(works: readonly Work[]): Promise<void> {
    if (works.length === 0) return;
    const look = await this.#freshLook(works);
    const haunted = works.filter(({ device }) => look(device).left.length > 0);
    await this.#step(haunted, (report) => reopened(report));
  }

  async #freshLook(works: readonly Work[]): Promise<(device: DeviceId) => Look> {
    const faults = new Map<string, string>();
    const traces = await this.#look(works, () => true, faults);
    const now = new Date();
    const at = new Map([...traces.keys()].map((broker) => [broker, now]));
    return (device) => {
      const left: RetainedMessage[] = [...traces.values()].flatMap(({ own }) => own.get(device) ?? []);
      return { at, left, faults };
    };
  }

  /** What each broker holds of the devices that `isWanted` there; brokers that do not answer are in `faults`. */
  async #look(
    works: readonly Work[],
    isWanted: (work: Work, broker: string) => boolean,
    faults: Map<string, string>,
  ): Promise<ReadonlyMap<string, Traces>> {
    const traces = new Map<string, Traces>();
    await Promise.all(
      this.#parts.brokers.map(async (broker) => {
        const scopes = works.filter((work) => isWanted(work, broker.name)).map(({ scope }) => scope);
        if (scopes.length === 0) return;
        await this.#onBroker(broker, faults, async () => traces.set(broker.name, await findTraces(broker, scopes)));
      }),
    );
    return traces;
  }

  async #onBroker(broker: BrokerTarget, faults: Map<string, string>, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
      this.#parts.logger.warn({ err: error, broker: broker.name }, 'decommissioning could not go on at a broker');
      faults.set(broker.name, error.message);
    }
  }

  /** Notes when the work of a step begins; on record with the next change. */
  #start(works: readonly Work[], name: DecommissionStepName): void {
    const now = new Date();
    for (const work of works) work.report = withStart(work.report, name, now);
  }

  /** Changes the reports, and puts them on record before anything else is done; one after the other, so that none is lost. */
  async #step(works: readonly Work[], change: (report: DecommissionReport) => DecommissionReport): Promise<void> {
    for (const work of works) work.report = change(work.report);
    const keeping = this.#keeping.then(async () => {
      const kept = await this.#parts.store.keep(works.map(({ report }) => report));
      for (const [index, work] of works.entries()) {
        const signature = kept[index]?.signature ?? null;
        if (signature !== null) work.report = { ...work.report, signature };
      }
    });
    this.#keeping = keeping.catch(() => undefined);
    await keeping;
    this.#closing.throwIfAborted();
  }
}

/** Waits for all, also when one fails: what is under way must not outlive its round. */
async function allSettled(...work: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === 'rejected') throw result.reason;
}

/** Brokers on which nothing could be cleared, and why. */
function waitingBrokers(
  report: DecommissionReport,
  traces: ReadonlyMap<string, Traces>,
  faults: ReadonlyMap<string, string>,
): string[] {
  return report.brokers.flatMap((broker) => {
    const fault = faults.get(broker);
    if (fault !== undefined) return [`${broker}: ${fault}`];
    return traces.has(broker) && isShutOut(report, broker)
      ? []
      : [`${broker}: not cleared before it shuts the device out`];
  });
}
