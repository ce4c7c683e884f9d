import type { DeviceId } from '@muster/contract';
import { whenTombstonesApplied } from '@muster/database';
import { BrokerSaves, ReportSigner } from '@muster/security';
import { TelemetryHistory } from '@muster/telemetry';
import type { AccessParts } from '../access/parts.ts';
import type { Devices } from '../devices/devices.ts';
import type { ApiParts, RunningParts, RegistryContext } from '../registry-context.ts';
import { DecommissionController } from './decommission.controller.ts';
import { DecommissionStore } from './decommission-store.ts';
import { Decommissioning } from './decommissioning.ts';
import { DeviceLife } from './device-life.ts';

const REVIVED_LIMIT_MS = 2_000;

/** Decommissionings with their reports; archive and restore. */
export const DECOMMISSION_API: ApiParts = {
  controllers: [DecommissionController],
  injected: [Decommissioning, DeviceLife, ReportSigner],
};

/** What takes devices out of service, and back. */
export interface DecommissionParts extends RunningParts {
  readonly decommissioning: Decommissioning;
  readonly start: () => void;
}

/** Makes {@link DecommissionParts}. */
export function decommissionParts(context: RegistryContext, access: AccessParts, devices: Devices): DecommissionParts {
  const { configuration, database, influx, accounts, brokers, topicMap, managed, logger } = context;
  const { trials, standInWill } = access;
  const signer = new ReportSigner(configuration.MUSTER_SIGNING_KEY);
  const store = new DecommissionStore({
    ...{ database, accounts, trials, signer, topicMap, managed },
    saves: new BrokerSaves(database),
    brokers: brokers.map(({ name }) => name),
  });
  const decommissioning = new Decommissioning({ database, accounts, trials, managed, brokers, logger, store });
  // It was disconnected without its will, and nobody has listened to it since.
  const onRevived = async (device: DeviceId): Promise<void> => {
    await whenTombstonesApplied(database, REVIVED_LIMIT_MS);
    await standInWill.publish([device], 'unexpected', false);
  };
  const history = influx === undefined ? undefined : new TelemetryHistory(influx);
  const life = new DeviceLife({ database, devices, managed, history, logger, onRevived });
  return {
    decommissioning,
    providers: [
      { provide: DeviceLife, useValue: life },
      { provide: ReportSigner, useValue: signer },
      { provide: Decommissioning, useValue: decommissioning },
    ],
    start: () => decommissioning.start(),
    stop: [() => decommissioning.close()],
  };
}
