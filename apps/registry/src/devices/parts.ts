import { Influx } from '@muster/telemetry';
import type { Decommissioning } from '../decommission/decommissioning.ts';
import type { ApiParts, FolderParts, RegistryContext } from '../registry-context.ts';
import { BulkChanges } from './bulk-changes.ts';
import { DeviceTransfer } from './device-transfer.ts';
import { DevicesController } from './devices.controller.ts';
import { Devices } from './devices.ts';
import { FleetController } from './fleet.controller.ts';
import { GroupsController } from './groups.controller.ts';
import { Groups } from './groups.ts';
import { IncidentsController } from './incidents.controller.ts';
import { InfoIntake } from './info-intake.ts';
import { PublishAdvisor } from './publish-advisor.ts';

/** Devices, one and many. The first that has a path answers: /devices/export is no device. */
export const DEVICES_API: ApiParts = {
  controllers: [FleetController, DevicesController],
  injected: [Devices, BulkChanges, DeviceTransfer, PublishAdvisor],
};

/** Groups of devices, and times in which their brokers were away. */
export const GROUPS_API: ApiParts = { controllers: [GroupsController, IncidentsController], injected: [Groups] };

/** What is known of devices, and changes it. */
export function devicesParts(
  { database, accounts, influx, logger }: RegistryContext,
  devices: Devices,
  decommissioning: Decommissioning,
): FolderParts {
  return {
    providers: [
      { provide: Devices, useValue: devices },
      { provide: Groups, useValue: new Groups(database) },
      { provide: BulkChanges, useValue: new BulkChanges(database, decommissioning, logger) },
      { provide: DeviceTransfer, useValue: new DeviceTransfer(database, logger) },
      {
        provide: PublishAdvisor,
        useValue: new PublishAdvisor(devices, influx === undefined ? undefined : new Influx(influx)),
      },
      { provide: InfoIntake, useValue: new InfoIntake(database, accounts) },
    ],
  };
}
