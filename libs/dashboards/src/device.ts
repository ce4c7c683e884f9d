import { annotation, dashboard, queryVariable, type Dashboard } from './dashboard.ts';
import {
  ago,
  column,
  columns,
  deviceColumn,
  presenceColumn,
  presenceMapping,
  reasonMapping,
  statePanel,
  statPanel,
  tablePanel,
  timePanel,
  type FieldOverride,
  type Panel,
} from './panels.ts';
import { influxQl, overTime, POSTGRES, sql } from './queries.ts';

/** In SQL: quoted by Grafana, whatever an address says. */
const ID = '${device:sqlstring}';
/** In InfluxQL: a pattern that matches nothing but the id, escaped by Grafana. */
const SERIES = `"device" =~ /^\${device:regex}$/`;
const NOT_CHOSEN = 'No device of this id is known.';

/** Units of well-known metrics; a metric of another name has no unit here, but in the table of last readings. */
const METRIC_UNITS: readonly FieldOverride[] = [
  columns('/^temp/i', { unit: 'celsius', decimals: 1 }),
  columns('/^hum/i', { unit: 'humidity', decimals: 1 }),
  columns('/^(vbat|voltage)/i', { unit: 'volt', decimals: 2 }),
  columns('/^(battery|brightness)$/i', { unit: 'percent' }),
  columns('/^pressure/i', { unit: 'pressurehpa' }),
  columns('/^rssi/i', { unit: 'dBm' }),
  columns('/^co2/i', { unit: 'ppm' }),
  columns('/^(lux|illuminance)/i', { unit: 'lux' }),
];

function fact(title: string, expression: string, width: number, description: string, override: object = {}): Panel {
  return statPanel({
    title,
    description,
    unit: 'string',
    noData: NOT_CHOSEN,
    width,
    fields: '/.*/',
    thresholds: [{ from: null, color: 'text' }],
    queries: [sql(`SELECT ${expression} AS value FROM grafana.device WHERE id = ${ID}`)],
    overrides: [column('value', { ...override })],
  });
}

/** Everything about one device: is it there, what does it measure, what happened to it. */
export function device(): Dashboard {
  return dashboard({
    uid: 'muster-device',
    title: 'Device',
    description:
      'One device: is it there, since when and why, what it measures, what happened to it, what of it was refused.',
    from: 'now-6h',
    variables: [
      queryVariable({
        name: 'device',
        label: 'Device',
        description: 'Devices in service first, then decommissioned ones: their history stays',
        source: POSTGRES,
        query: sql(`
          SELECT id AS __value, CASE WHEN name = id THEN id ELSE name || ' (' || id || ')' END AS __text
          FROM grafana.device ORDER BY in_service DESC, id`),
      }),
      queryVariable({
        name: 'metric',
        label: 'Metrics',
        description: 'Numbers that the device has reported',
        source: POSTGRES,
        query: sql(
          `SELECT metric FROM grafana.last_reading WHERE device = ${ID} AND number IS NOT NULL ORDER BY metric`,
        ),
        multi: true,
      }),
    ],
    annotations: [
      annotation(
        'Presence',
        POSTGRES,
        'orange',
        sql(`
          SELECT at AS time, "from" || ' to ' || "to" || ': ' || reason AS text, "to" AS tags
          FROM grafana.presence_transition WHERE device = ${ID} AND $__timeFilter(at) ORDER BY id`),
      ),
    ],
    rows: [
      {
        title: 'Now',
        panels: [
          statPanel({
            title: 'Presence',
            description:
              'Online, asleep, stale, offline (it said so), lost (the connection broke), unknown (never heard, or its broker is away).',
            unit: 'string',
            noData: NOT_CHOSEN,
            width: 4,
            fields: '/.*/',
            background: true,
            mappings: [presenceMapping],
            queries: [sql(`SELECT presence FROM grafana.device WHERE id = ${ID}`)],
          }),
          fact('Since', 'since', 4, 'When it came into this state.', {
            unit: 'dateTimeFromNow',
            noValue: 'never heard',
          }),
          fact('Why', 'reason', 6, 'The reason for the state; the rule that decided it is in the table of changes.', {
            mappings: [reasonMapping],
          }),
          fact('Last telemetry', 'last_seen_at', 4, 'When its last message with readings was received.', {
            unit: 'dateTimeFromNow',
            noValue: 'never sent any',
          }),
          fact(
            'Model',
            `coalesce(model || coalesce(', ' || firmware, ''), 'not told')`,
            4,
            'What it says about itself.',
          ),
          fact('Life', 'state', 2, 'Discovered, registered, decommissioning, decommissioned or archived.'),
          statePanel({
            title: 'Presence over time',
            description: 'The state of the device at each moment of the time range.',
            unit: 'string',
            noData:
              'Nothing was heard about its presence: it sends telemetry alone, or its status is on another topic.',
            width: 24,
            height: 4,
            mappings: [presenceMapping],
            queries: [
              sql(
                `
                SELECT time, presence FROM (
                  (SELECT $__timeFrom()::timestamptz AS time, "to" AS presence, id FROM grafana.presence_transition
                   WHERE device = ${ID} AND at < $__timeFrom()::timestamptz ORDER BY id DESC LIMIT 1)
                  UNION ALL
                  SELECT at, "to", id FROM grafana.presence_transition WHERE device = ${ID} AND $__timeFilter(at)
                ) AS state ORDER BY id`,
              ),
            ],
          }),
        ],
      },
      {
        title: 'Readings',
        panels: [
          tablePanel({
            title: 'Last readings',
            description:
              'The newest value of each metric, by the time of the device, with the unit that the topic map or the device gives.',
            unit: 'string',
            noData: 'The device has sent no reading.',
            width: 12,
            queries: [
              sql(
                `SELECT metric, value, unit, at AS measured FROM grafana.last_reading WHERE device = ${ID} ORDER BY metric`,
              ),
            ],
            overrides: [ago('measured')],
          }),
          timePanel({
            title: 'Messages stored',
            description:
              'Messages with a sequence number (seq) in each interval. Even bars: it reports as it should. Gaps: it slept, or nothing came.',
            unit: 'none',
            noData: 'No message with a sequence number (seq) in this time range.',
            width: 12,
            style: 'bars',
            queries: [
              influxQl(overTime({ from: 'telemetry', select: 'count("seq")', where: [SERIES], fill: 'none' }), {
                alias: 'messages',
              }),
            ],
          }),
          timePanel({
            title: '${metric}',
            description: 'The mean of the readings in each interval; vertical lines are changes of presence.',
            unit: 'short',
            noData: 'No reading of this metric in this time range.',
            width: 12,
            height: 7,
            repeat: 'metric',
            queries: [
              influxQl(
                overTime({ from: 'telemetry', select: 'mean("${metric:raw}")', where: [SERIES], fill: 'none' }),
                { alias: '${metric:raw}' },
              ),
            ],
            overrides: METRIC_UNITS,
          }),
        ],
      },
      {
        title: 'What happened',
        panels: [
          tablePanel({
            title: 'Changes of presence',
            description:
              'Each change with its reason, the message that caused it, and the rule that was applied; the newest first, whatever the time range.',
            unit: 'string',
            noData: 'Nothing was heard about its presence.',
            width: 14,
            queries: [
              sql(`
                SELECT at, "from", "to", reason, broker, topic, rule FROM grafana.presence_transition
                WHERE device = ${ID} ORDER BY id DESC LIMIT 200`),
            ],
            overrides: [
              column('at', { unit: 'dateTimeAsLocal', 'custom.width': 170 }),
              presenceColumn('from'),
              presenceColumn('to'),
            ],
          }),
          tablePanel({
            title: 'Refused telemetry',
            description:
              'What of this device could not be used, by reason, with the newest topic and detail. muster dead-letters shows the payload too, and has it read again.',
            unit: 'string',
            noData: 'Nothing of this device was refused.',
            width: 10,
            queries: [
              sql(`
                SELECT device, reason, count, last_at AS latest, topic, detail FROM grafana.dead_letter
                WHERE device = ${ID} ORDER BY last_at DESC`),
            ],
            overrides: [deviceColumn(), column('count', { unit: 'none', 'custom.width': 80 }), ago('latest')],
          }),
        ],
      },
    ],
  });
}
