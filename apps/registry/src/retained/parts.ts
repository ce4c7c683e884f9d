import type { ApiParts, RunningParts, RegistryContext } from '../registry-context.ts';
import { BrokerReport } from './broker-report.ts';
import { LedgerWatch } from './ledger-watch.ts';
import { OrphanSweep } from './orphan-sweep.ts';
import { RetainedController } from './retained.controller.ts';
import { RetainedStore } from './retained-store.ts';
import { TombstoneWatch } from './tombstone-watch.ts';

/** What brokers retain, and what appears again under decommissioned devices. */
export const RETAINED_API: ApiParts = {
  controllers: [RetainedController],
  injected: [RetainedStore, LedgerWatch, OrphanSweep, TombstoneWatch],
};

/** What watches the retained messages of every broker. */
export interface RetainedParts extends RunningParts {
  readonly start: () => Promise<void>;
}

/** Makes {@link RetainedParts}. */
export function retainedParts(context: RegistryContext): RetainedParts {
  const { database, postgresUrl, brokers, topicMap, logger, metrics } = context;
  const reports = new Map<string, BrokerReport>();
  const store = new RetainedStore(database, topicMap);
  const watching = { brokers, reports, store, topicMap, logger, metrics };
  const ledger = new LedgerWatch(watching);
  const tombstones = new TombstoneWatch({ ...watching, postgresUrl });
  return {
    providers: [
      { provide: RetainedStore, useValue: store },
      { provide: LedgerWatch, useValue: ledger },
      { provide: OrphanSweep, useValue: new OrphanSweep(brokers, ledger, store, logger) },
      { provide: TombstoneWatch, useValue: tombstones },
    ],
    start: async () => {
      for (const broker of brokers) reports.set(broker.name, new BrokerReport(broker, logger));
      await ledger.start();
      await tombstones.start();
    },
    stop: [
      ...[() => tombstones.close(), () => ledger.close()],
      () => Promise.all([...reports.values()].map((report) => report.close())),
    ],
  };
}
