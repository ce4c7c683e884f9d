import { decommissionStepNameSchema, type DecommissionReport, type DecommissionStepName } from '@muster/contract';
import { emptyStep, NO_TRIAL, reopened, stepOf, withNotDone } from './decommission-report.ts';

/**
 * A report as it was kept. What earlier versions did not write down is left empty: their steps are those that their
 * state stands for, without a time.
 */
export function storedReport(kept: unknown): DecommissionReport {
  const report = kept as Partial<DecommissionReport> & Pick<DecommissionReport, 'device' | 'state' | 'requestedAt'>;
  const isVerified = report.state !== 'incomplete';
  const account = report.account ?? { state: 'none', version: null, brokers: [], revocation: NO_TRIAL };
  const upgraded: DecommissionReport = {
    ...{ verifiedAt: null, doneAt: null, brokers: [], services: [], sessions: [], filters: [], before: [] },
    ...{ cleared: [], after: [], kept: [], notDone: [], verification: [], signature: null },
    session: {
      ...{ state: isVerified ? 'ended' : 'waiting', clientId: report.device, reason: null },
      tried: [...(report.sessions ?? [])],
    },
    steps: decommissionStepNameSchema.options.map((name) => ({
      ...emptyStep(name),
      state: name === 'tombstone' || (isVerified && !LATER.has(name)) ? 'done' : 'waiting',
    })),
    ...report,
    verification: report.verification ?? (isVerified ? (report.brokers ?? []).map(verifiedAs(report.verifiedAt)) : []),
    // Without a trial, what an earlier version left incomplete tries it.
    account: { ...account, revocation: (account as Partial<typeof account>).revocation ?? NO_TRIAL },
  };
  return upgraded;
}

function verifiedAs(at: string | null | undefined): (broker: string) => DecommissionReport['verification'][number] {
  return (broker) => ({ broker, at: at ?? new Date(0).toISOString(), savedAt: null, againAt: null });
}

const LATER: ReadonlySet<DecommissionStepName> = new Set(['save', 'verify-again']);

/**
 * A report with the brokers that there are now. Where there is another one than those it tells of, the steps that belong
 * to a broker begin anew, on all of them. One that was taken out is not waited for: what is verified stays so on those
 * that are left. What is done, or has no step left, is about the brokers that there were.
 */
export function withBrokers(report: DecommissionReport, brokers: readonly string[]): DecommissionReport {
  const hasMore = brokers.some((broker) => !report.brokers.includes(broker));
  const gone = report.brokers.filter((broker) => !brokers.includes(broker));
  if (report.state === 'done' || (!hasMore && gone.length === 0)) return report;
  if (report.state === 'verified' && !hasMore)
    return stepOf(report, 'save').state === 'not-applicable' ? report : withoutBrokers(report, new Set(gone));
  const again = new Set<DecommissionStepName>(['account', 'session']);
  const anew = reopened({ ...report, brokers: [...brokers], session: { ...report.session, state: 'waiting' } });
  return withNotDone({
    ...anew,
    steps: anew.steps.map((step) => (again.has(step.name) ? emptyStep(step.name) : step)),
  });
}

function withoutBrokers(report: DecommissionReport, gone: ReadonlySet<string>): DecommissionReport {
  const isLeft = (broker: string): boolean => !gone.has(broker);
  return withNotDone({
    ...report,
    brokers: report.brokers.filter(isLeft),
    verification: report.verification.filter(({ broker }) => isLeft(broker)),
    steps: report.steps.map((step) => ({
      ...step,
      waitsFor: step.waitsFor.filter((line) => ![...gone].some((broker) => line.startsWith(`${broker}: `))),
    })),
    // It is another report than the one that was signed.
    signature: null,
  });
}
