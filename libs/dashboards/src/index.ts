import { brokers } from './brokers.ts';
import type { Dashboard } from './dashboard.ts';
import { device } from './device.ts';
import { fleetOverview } from './fleet-overview.ts';
import { ingestionPipeline } from './ingestion-pipeline.ts';
import { presence } from './presence.ts';

export * from './dashboard.ts';
export { INFLUXDB, POSTGRES, type DataSource } from './queries.ts';

/** The dashboards of Muster, by the name of the file that each is provisioned from. */
export function dashboards(): ReadonlyMap<string, Dashboard> {
  return new Map([
    ['fleet-overview.json', fleetOverview()],
    ['device.json', device()],
    ['presence.json', presence()],
    ['brokers.json', brokers()],
    ['ingestion-pipeline.json', ingestionPipeline()],
  ]);
}
