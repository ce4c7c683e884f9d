import { dashboard, type Dashboard } from './dashboard.ts';
import {
  ago,
  barPanel,
  column,
  deviceColumn,
  presenceColumn,
  reasonMapping,
  statPanel,
  tablePanel,
  timePanel,
} from './panels.ts';
import { presenceCountOverrides, presenceHistory, presenceNow } from './presence-history.ts';
import { influxQl, overTime, perSecond, sql, total } from './queries.ts';

/** What an operator looks at first: is anything wrong, what, since when, and is the fleet growing. */
export function fleetOverview(): Dashboard {
  return dashboard({
    uid: 'muster-fleet',
    title: 'Fleet overview',
    description: 'Is anything wrong, with which devices, since when; and is the fleet growing.',
    from: 'now-6h',
    rows: [
      {
        title: 'Now',
        panels: [
          statPanel({
            title: 'Devices by presence',
            description:
              'Devices in service, worst first. Lost: the connection broke, or silence. Stale: connected and silent. Unknown: never heard, or its broker is away. Offline: it said so. Asleep: it will wake by itself. These are the counts of the console.',
            unit: 'none',
            noData: 'PostgreSQL gave no counts: is the data source set up, and has muster migrate run?',
            width: 14,
            queries: [presenceNow()],
            overrides: presenceCountOverrides,
          }),
          statPanel({
            title: 'In service',
            description: 'All devices that are not decommissioned.',
            unit: 'none',
            noData: 'No device is known yet.',
            width: 3,
            queries: [sql('SELECT count(*) AS devices FROM grafana.device WHERE in_service')],
          }),
          statPanel({
            title: 'New in range',
            description: 'Devices that were heard for the first time in the time range and are in service.',
            unit: 'none',
            noData: 'No device is known yet.',
            width: 3,
            queries: [
              sql('SELECT count(*) AS devices FROM grafana.device WHERE in_service AND $__timeFilter(discovered_at)'),
            ],
          }),
          statPanel({
            title: 'Readings per second',
            description:
              'Readings that InfluxDB has taken, over all brokers. Details are on the dashboard Ingestion pipeline.',
            unit: 'cps',
            noData: 'No statistics in this time range: ingestion writes them every 10 s.',
            width: 4,
            decimals: 1,
            curve: true,
            queries: [
              influxQl(total({ from: 'ingestion', tags: ['broker'] }, perSecond('readings')), { alias: 'readings' }),
            ],
          }),
        ],
      },
      {
        title: 'What needs somebody',
        panels: [
          tablePanel({
            title: 'Lost or stale now',
            description:
              'Devices that should be there and are not, the latest first: since when, why, by which broker it was heard last. A click on the device opens its dashboard or the console.',
            unit: 'string',
            noData: 'No device is lost or stale.',
            width: 24,
            height: 9,
            queries: [
              sql(`
                SELECT device.id AS device, device.name, device.presence, device.since, device.reason,
                  device.last_seen_at AS "last telemetry", device.broker, device.model, device.firmware
                FROM grafana.device
                WHERE device.in_service AND device.presence IN ('lost', 'stale')
                ORDER BY device.since DESC LIMIT 500`),
            ],
            overrides: [
              deviceColumn(),
              presenceColumn('presence'),
              ago('since'),
              ago('last telemetry'),
              column('reason', { mappings: [reasonMapping], 'custom.minWidth': 180 }),
            ],
          }),
        ],
      },
      {
        title: 'Over time',
        panels: [
          presenceHistory(12),
          timePanel({
            title: 'Telemetry',
            description:
              'Readings that InfluxDB has taken, a second, by broker. A gap means that ingestion wrote no statistics.',
            unit: 'cps',
            noData: 'No statistics in this time range: ingestion writes them every 10 s.',
            width: 12,
            stacked: true,
            queries: [
              influxQl(overTime({ from: 'ingestion', select: perSecond('readings'), tags: ['broker'] }), {
                alias: '$tag_broker',
              }),
            ],
          }),
          timePanel({
            title: 'Size of the fleet, 30 days',
            description:
              'Devices in service: each counts from when it was first heard until its decommissioning was verified.',
            unit: 'none',
            noData: 'No device is known yet.',
            width: 12,
            timeFrom: '30d',
            queries: [
              sql(
                `
                WITH event AS (
                  SELECT step AS time, true AS is_step, 0 AS devices
                  FROM generate_series($__timeFrom()::timestamptz, least($__timeTo()::timestamptz, now()), $__interval_ms * interval '1 millisecond') AS step
                  UNION ALL SELECT now(), true, 0
                  UNION ALL SELECT discovered_at, false, 1 FROM grafana.device
                  UNION ALL SELECT verified_at, false, -1 FROM grafana.decommission WHERE life IN ('decommissioned', 'archived')
                ), counted AS (
                  SELECT time, is_step, sum(devices) OVER (ORDER BY time, is_step ROWS UNBOUNDED PRECEDING) AS devices FROM event
                )
                SELECT time, greatest(0, devices) AS "in service" FROM counted WHERE is_step ORDER BY time`,
                'time_series',
              ),
            ],
          }),
          tablePanel({
            title: 'Online and silent the longest',
            description:
              'Connected is not the same as reporting: devices that are online, the one whose last telemetry is oldest first. Yellow from 15 minutes, red from an hour.',
            unit: 'string',
            noData: 'No device is online.',
            width: 12,
            queries: [
              sql(`
                SELECT id AS device, name, extract(epoch FROM now() - last_seen_at) AS "silent for", model, broker
                FROM grafana.device WHERE in_service AND presence = 'online'
                ORDER BY last_seen_at NULLS FIRST LIMIT 20`),
            ],
            overrides: [
              deviceColumn(),
              column('silent for', {
                unit: 's',
                decimals: 0,
                noValue: 'never sent any',
                'custom.cellOptions': { type: 'color-text' },
                thresholds: {
                  mode: 'absolute',
                  steps: [
                    { value: null, color: 'green' },
                    { value: 900, color: 'yellow' },
                    { value: 3600, color: 'red' },
                  ],
                },
              }),
            ],
          }),
        ],
      },
      {
        title: 'What the fleet is made of',
        panels: [
          barPanel({
            title: 'Models and firmware',
            description: 'Devices in service by what they say in their info: how far an update has come.',
            unit: 'none',
            noData: 'No device is known yet.',
            width: 8,
            queries: [
              sql(`
                SELECT coalesce(model, 'no model given') || coalesce(', ' || firmware, '') AS kind, count(*) AS devices
                FROM grafana.device WHERE in_service GROUP BY 1 ORDER BY 2 DESC LIMIT 20`),
            ],
          }),
          tablePanel({
            title: 'Newest devices',
            description:
              'The last twenty that were heard for the first time. One that nobody knows here has the wrong broker, or the wrong password.',
            unit: 'string',
            noData: 'No device is known yet. Publish a status or telemetry, and it appears.',
            width: 8,
            queries: [
              sql(`
                SELECT id AS device, name, discovered_at AS "first heard", presence, model
                FROM grafana.device WHERE in_service ORDER BY discovered_at DESC LIMIT 20`),
            ],
            overrides: [deviceColumn(), ago('first heard'), presenceColumn('presence')],
          }),
          tablePanel({
            title: 'Taken out of service',
            description:
              'The last decommissionings. Verified: a fresh connection to every broker found nothing retained. Incomplete: open the device in the console and run it again.',
            unit: 'string',
            noData: 'No device has been decommissioned.',
            width: 8,
            queries: [
              sql(`
                SELECT device, state, requested_at AS requested, cleared, still_retained AS "still retained", kept
                FROM grafana.decommission ORDER BY requested_at DESC LIMIT 50`),
            ],
            overrides: [
              deviceColumn(),
              ago('requested'),
              column('state', {
                'custom.cellOptions': { type: 'color-text' },
                mappings: [
                  {
                    type: 'value',
                    options: {
                      verified: { text: 'verified', color: 'green', index: 0 },
                      incomplete: { text: 'incomplete', color: 'red', index: 1 },
                    },
                  },
                ],
              }),
              column('cleared', { unit: 'none' }),
              column('still retained', { unit: 'none' }),
              column('kept', { unit: 'none' }),
            ],
          }),
        ],
      },
    ],
  });
}
