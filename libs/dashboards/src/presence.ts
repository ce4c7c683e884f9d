import { dashboard, type Dashboard } from './dashboard.ts';
import {
  ago,
  ANY_IS_BAD,
  barPanel,
  column,
  deviceColumn,
  presenceColumn,
  reasonMapping,
  statPanel,
  tablePanel,
} from './panels.ts';
import { presenceCountOverrides, presenceHistory, presenceNow, transitionsOverTime } from './presence-history.ts';
import { sql } from './queries.ts';

/** Who is away and why, with the evidence, and what changed when. */
export function presence(): Dashboard {
  return dashboard({
    uid: 'muster-presence',
    title: 'Presence',
    description: 'Who is away, why, and since when, with the rule that decided it; and what changed in the time range.',
    from: 'now-6h',
    rows: [
      {
        title: 'Now',
        panels: [
          statPanel({
            title: 'Devices by presence',
            description: 'Devices in service, worst first; the counts of the console.',
            unit: 'none',
            noData: 'PostgreSQL gave no counts: is the data source set up, and has muster migrate run?',
            width: 14,
            queries: [presenceNow()],
            overrides: presenceCountOverrides,
          }),
          statPanel({
            title: 'Lost in range',
            description: 'How often a device became lost in the time range; a device counts each time.',
            unit: 'none',
            noData: 'None.',
            width: 5,
            thresholds: ANY_IS_BAD,
            queries: [
              sql(`SELECT count(*) AS lost FROM grafana.presence_transition WHERE "to" = 'lost' AND $__timeFilter(at)`),
            ],
          }),
          statPanel({
            title: 'Devices that flap',
            description:
              'Devices that became lost three times or more in the time range. Bad radio, a weak power supply, or two devices with one id. The table below names them.',
            unit: 'none',
            noData: 'None.',
            width: 5,
            thresholds: ANY_IS_BAD,
            queries: [
              sql(`
                SELECT count(*) AS devices FROM (
                  SELECT device FROM grafana.presence_transition WHERE "to" = 'lost' AND $__timeFilter(at)
                  GROUP BY device HAVING count(*) >= 3
                ) AS flapping`),
            ],
          }),
          tablePanel({
            title: 'Away now, and why',
            description:
              'Every device in service that is not online, worst first and then the latest first, with the rule that decided it. For one that sleeps: when it said that it will be back; red when that has passed.',
            unit: 'string',
            noData: 'Every device is online.',
            width: 24,
            height: 10,
            queries: [
              sql(`
                SELECT id AS device, name, presence, since, reason, rule,
                  CASE WHEN presence = 'asleep' THEN extract(epoch FROM wake_expected_at - now()) END AS "wakes in",
                  last_seen_at AS "last telemetry", broker
                FROM grafana.device WHERE in_service AND presence <> 'online'
                ORDER BY array_position(ARRAY['lost', 'stale', 'unknown', 'offline', 'asleep'], presence), since DESC NULLS LAST
                LIMIT 1000`),
            ],
            overrides: [
              deviceColumn(),
              presenceColumn('presence'),
              ago('since'),
              ago('last telemetry'),
              column('reason', { mappings: [reasonMapping], 'custom.minWidth': 180 }),
              column('wakes in', {
                unit: 's',
                decimals: 0,
                'custom.width': 100,
                'custom.cellOptions': { type: 'color-text' },
                thresholds: {
                  mode: 'absolute',
                  steps: [
                    { value: null, color: 'red' },
                    { value: 0, color: 'blue' },
                  ],
                },
              }),
            ],
          }),
        ],
      },
      {
        title: 'Over time',
        panels: [
          presenceHistory(12),
          transitionsOverTime(12),
          tablePanel({
            title: 'Most changes in range',
            description: 'Devices by how often they became lost, then by how often anything changed: who flaps.',
            unit: 'string',
            noData: 'Nothing changed in this time range.',
            width: 10,
            height: 10,
            queries: [
              sql(`
                SELECT device, max(name) AS name, count(*) FILTER (WHERE "to" = 'lost') AS "times lost",
                  count(*) AS changes, max(at) AS latest
                FROM grafana.presence_transition WHERE in_service AND $__timeFilter(at)
                GROUP BY device ORDER BY 3 DESC, 4 DESC LIMIT 50`),
            ],
            overrides: [
              deviceColumn(),
              ago('latest'),
              column('times lost', { unit: 'none', 'custom.width': 100 }),
              column('changes', { unit: 'none', 'custom.width': 90 }),
            ],
          }),
          barPanel({
            title: 'Why devices are away',
            description: 'Devices in service that are not online, by reason.',
            unit: 'none',
            noData: 'Every device is online.',
            width: 4,
            height: 10,
            queries: [
              sql(`
                SELECT reason, count(*) AS devices FROM grafana.device WHERE in_service AND presence <> 'online'
                GROUP BY reason ORDER BY 2 DESC`),
            ],
          }),
          tablePanel({
            title: 'Latest changes in range',
            description: 'Each change with its reason and the rule that was applied, the newest first.',
            unit: 'string',
            noData: 'Nothing changed in this time range.',
            width: 10,
            height: 10,
            queries: [
              sql(`
                SELECT at, device, "from", "to", reason, broker, topic, rule
                FROM grafana.presence_transition WHERE $__timeFilter(at) ORDER BY id DESC LIMIT 500`),
            ],
            overrides: [
              column('at', { unit: 'dateTimeAsLocal', 'custom.width': 170 }),
              deviceColumn(),
              presenceColumn('from'),
              presenceColumn('to'),
            ],
          }),
        ],
      },
    ],
  });
}
