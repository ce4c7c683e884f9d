import { dashboard, type Dashboard } from './dashboard.ts';
import { ago, ANY_IS_BAD, column, deviceColumn, statPanel, tablePanel, timePanel, type Panel } from './panels.ts';
import { increase, influxQl, overTime, perSecond, sql, total, type Query } from './queries.ts';

const NO_STATISTICS =
  'No statistics in this time range: ingestion writes them every 10 s. Is it running, and does InfluxDB take writes?';

/** Counted since each process began. */
function countInRange(title: string, field: string, tag: 'broker' | 'instance', description: string): Panel {
  return statPanel({
    title,
    description,
    unit: 'none',
    noData: NO_STATISTICS,
    width: 4,
    decimals: 0,
    thresholds: ANY_IS_BAD,
    queries: [influxQl(increase({ from: 'ingestion', field, tags: [tag] }), { alias: title })],
  });
}

function rateByBroker(field: string, name: string): Query {
  return influxQl(overTime({ from: 'ingestion', select: perSecond(field), tags: ['broker'] }), {
    alias: `${name} $tag_broker`,
  });
}

/** Of a histogram whose sum and count are kept, the average in each interval. */
function averageTime(field: string, tag: string): Query {
  const select = `${perSecond(`${field}_sum`)} AS "sum", ${perSecond(`${field}_count`)} AS "count"`;
  const inner = overTime({ from: 'ingestion', select, tags: [tag], fill: 'none' });
  return influxQl(`SELECT "sum" / "count" AS "seconds" FROM (${inner}) WHERE $timeFilter GROUP BY "${tag}"`, {
    alias: `$tag_${tag}`,
  });
}

/** From the brokers to InfluxDB: is anything behind, refused or failing. */
export function ingestionPipeline(): Dashboard {
  return dashboard({
    uid: 'muster-ingestion',
    title: 'Ingestion pipeline',
    description:
      'From the brokers to InfluxDB: is it behind, does InfluxDB take what comes, what was refused and from whom.',
    from: 'now-1h',
    rows: [
      {
        title: 'Is it behind',
        panels: [
          statPanel({
            title: 'In hand',
            description:
              'Messages that ingestion has got and not acknowledged, over all brokers. They wait for InfluxDB; a few hundred for a moment is normal. At 65,535 for one broker the rest waits there.',
            unit: 'none',
            noData: NO_STATISTICS,
            width: 4,
            curve: true,
            background: true,
            thresholds: [
              { from: null, color: 'green' },
              { from: 5_000, color: 'yellow' },
              { from: 30_000, color: 'red' },
            ],
            queries: [
              influxQl(total({ from: 'ingestion', tags: ['broker'] }, 'last("in_hand")'), { alias: 'in hand' }),
            ],
          }),
          statPanel({
            title: 'Last statistics',
            description:
              'When ingestion last wrote figures. Older than a minute: what stands beside it is old as well.',
            unit: 'dateTimeFromNow',
            noData: NO_STATISTICS,
            width: 4,
            fields: '/^Time$/',
            queries: [influxQl('SELECT last("waiting") FROM "ingestion" WHERE $timeFilter', { format: 'table' })],
          }),
          countInRange(
            'Failed writes',
            'influx_failures',
            'instance',
            'Writes that InfluxDB did not take, in the time range. They are tried again until it does; telemetry waits with the broker meanwhile and is not lost.',
          ),
          countInRange(
            'Dropped',
            'dropped',
            'broker',
            'QoS 0 messages that were dropped because 65,535 were in hand. Messages of QoS 1 are never dropped here.',
          ),
          statPanel({
            title: 'Refused',
            description:
              'Messages or fields that could not be used, in the time range. The table below says from whom and why.',
            unit: 'none',
            noData: NO_STATISTICS,
            width: 4,
            decimals: 0,
            thresholds: [
              { from: null, color: 'green' },
              { from: 1, color: 'yellow' },
            ],
            queries: [
              influxQl(increase({ from: 'ingestion', field: 'refused_total', tags: ['broker'] }), {
                alias: 'refused',
              }),
            ],
          }),
          countInRange(
            'Possible duplicates',
            'duplicates',
            'broker',
            'Messages without a time of their own that the broker delivered again, in the time range: the only ones that may be stored twice.',
          ),
        ],
      },
      {
        title: 'Flow',
        panels: [
          timePanel({
            title: 'Messages received and readings stored',
            description:
              'A second, by broker. A message has one reading or several. Received goes on and stored falls to 0: InfluxDB does not take writes.',
            unit: 'cps',
            noData: NO_STATISTICS,
            width: 12,
            queries: [rateByBroker('messages', 'messages'), rateByBroker('readings', 'readings')],
          }),
          timePanel({
            title: 'What waits',
            description:
              'In hand: got from a broker and not acknowledged. Lines: for InfluxDB. In the broker: all that it stores, retained messages and other clients’ queues among it. If all three rise, InfluxDB is the bottleneck; if only the broker’s does, ingestion is.',
            unit: 'short',
            noData: NO_STATISTICS,
            width: 12,
            queries: [
              influxQl(overTime({ from: 'ingestion', select: 'last("in_hand")', tags: ['broker'] }), {
                alias: 'in hand $tag_broker',
              }),
              influxQl(overTime({ from: 'ingestion', select: 'last("waiting")', tags: ['instance'] }), {
                alias: 'lines $tag_instance',
              }),
              influxQl(overTime({ from: 'broker', select: 'last("stored")', tags: ['broker'] }), {
                alias: 'in the broker $tag_broker',
              }),
            ],
          }),
          timePanel({
            title: 'Time of a write',
            description:
              'How long InfluxDB takes to answer a batch, on average in each interval. Yellow from half a second, red from two.',
            unit: 's',
            noData: 'Nothing was written in this time range.',
            width: 8,
            limits: true,
            thresholds: [
              { from: null, color: 'green' },
              { from: 0.5, color: 'yellow' },
              { from: 2, color: 'red' },
            ],
            queries: [averageTime('write_seconds', 'instance')],
          }),
          timePanel({
            title: 'Failures',
            description: 'Writes that a database did not take, a second. Both are tried again until they succeed.',
            unit: 'cps',
            noData: NO_STATISTICS,
            width: 8,
            queries: [
              influxQl(total({ from: 'ingestion', tags: ['instance'] }, perSecond('influx_failures')), {
                alias: 'InfluxDB',
              }),
              influxQl(total({ from: 'ingestion', tags: ['instance'] }, perSecond('postgres_failures')), {
                alias: 'PostgreSQL',
              }),
            ],
          }),
          timePanel({
            title: 'Volume',
            description: 'Bytes of the payloads that were received, a second, by broker.',
            unit: 'Bps',
            noData: NO_STATISTICS,
            width: 8,
            stacked: true,
            queries: [
              influxQl(overTime({ from: 'ingestion', select: perSecond('payload_bytes'), tags: ['broker'] }), {
                alias: '$tag_broker',
              }),
            ],
          }),
        ],
      },
      {
        title: 'What waits on disk, and how long the way takes',
        panels: [
          timePanel({
            title: 'Spool',
            description:
              'Bytes that each process keeps on its disk because InfluxDB does not take them, or not fast enough. They go there by themselves when it does. Of a process that does not run (ordinal) nobody delivers them: run as many processes again.',
            unit: 'bytes',
            noData: NO_STATISTICS,
            width: 8,
            limits: true,
            thresholds: [
              { from: null, color: 'green' },
              { from: 1, color: 'yellow' },
              { from: 1_000_000_000, color: 'red' },
            ],
            queries: [
              influxQl(overTime({ from: 'ingestion', select: 'last("spool_bytes")', tags: ['instance'] }), {
                alias: '$tag_instance',
              }),
              influxQl(
                overTime({
                  from: 'ingestion',
                  select: 'last("stopped_spool_bytes")',
                  where: [`"ordinal" != ''`],
                  tags: ['ordinal'],
                }),
                { alias: 'left by ordinal $tag_ordinal' },
              ),
            ],
          }),
          timePanel({
            title: 'Age of the spool',
            description:
              'For how long the oldest telemetry there has waited. What has waited for more than seven days (MUSTER_SPOOL_MAX_DAYS) is given up.',
            unit: 's',
            noData: NO_STATISTICS,
            width: 8,
            queries: [
              influxQl(overTime({ from: 'ingestion', select: 'last("spool_age_seconds")', tags: ['instance'] }), {
                alias: '$tag_instance',
              }),
              influxQl(
                overTime({
                  from: 'ingestion',
                  select: 'last("stopped_spool_age_seconds")',
                  where: [`"ordinal" != ''`],
                  tags: ['ordinal'],
                }),
                { alias: 'left by ordinal $tag_ordinal' },
              ),
            ],
          }),
          timePanel({
            title: 'Canary',
            description:
              'From the publish of a synthetic reading at each broker to its being found in InfluxDB, on average in each interval: the way of all telemetry. A gap beside other figures: it was not found within 10 s.',
            unit: 's',
            noData: NO_STATISTICS,
            width: 8,
            limits: true,
            thresholds: [
              { from: null, color: 'green' },
              { from: 1, color: 'yellow' },
              { from: 5, color: 'red' },
            ],
            queries: [averageTime('canary_seconds', 'broker')],
          }),
          statPanel({
            title: 'Spool full',
            description:
              'How many processes have a spool without room. Then QoS 1 stays with the brokers, whose queues fill, and QoS 0 is dropped.',
            unit: 'none',
            noData: NO_STATISTICS,
            width: 4,
            decimals: 0,
            background: true,
            thresholds: ANY_IS_BAD,
            queries: [
              influxQl(total({ from: 'ingestion', tags: ['instance'] }, 'last("spool_full")'), { alias: 'full' }),
            ],
          }),
          statPanel({
            title: 'Canary missing',
            description:
              'At how many brokers the last synthetic reading was not found within 10 s. While InfluxDB is away nothing is written here either: the alert canary-missing reads ingestion itself.',
            unit: 'none',
            noData: NO_STATISTICS,
            width: 4,
            decimals: 0,
            background: true,
            thresholds: ANY_IS_BAD,
            queries: [
              influxQl(total({ from: 'ingestion', tags: ['broker'] }, 'last("canary_missing")'), {
                alias: 'missing',
              }),
            ],
          }),
          timePanel({
            title: 'Queue of the broker for ingestion',
            description:
              'How far each is filled. Messages go there when the spool is full, or ingestion too slow; at 100 % the broker throws away what comes. Nothing for a broker whose limit is not known. While InfluxDB is away this is not written either: the alert broker-queue reads ingestion itself, which also says how many minutes are left (muster_ingestion_broker_queue_minutes_left).',
            unit: 'percentunit',
            noData: 'No limit is known, or no broker tells how much it stores.',
            width: 16,
            limits: true,
            thresholds: [
              { from: null, color: 'green' },
              { from: 0.25, color: 'yellow' },
              { from: 0.5, color: 'red' },
            ],
            queries: [
              influxQl(overTime({ from: 'ingestion', select: 'last("queue_share")', tags: ['broker'] }), {
                alias: '$tag_broker',
              }),
            ],
          }),
        ],
      },
      {
        title: 'What was refused',
        panels: [
          timePanel({
            title: 'Refused by reason',
            description:
              'Messages or fields that could not be used, a second, by reason; and messages of decommissioned devices, which are ignored. Good fields beside a bad one are stored.',
            unit: 'cps',
            noData: 'Nothing has been refused in this time range.',
            width: 10,
            height: 10,
            style: 'bars',
            stacked: true,
            queries: [
              influxQl(
                overTime({
                  from: 'ingestion',
                  select: perSecond('refused'),
                  where: [`"reason" != ''`],
                  tags: ['reason', 'broker'],
                }),
                { alias: '$tag_reason $tag_broker' },
              ),
              influxQl(total({ from: 'ingestion', tags: ['broker'] }, perSecond('tombstoned')), {
                alias: 'of a decommissioned device',
              }),
              influxQl(total({ from: 'ingestion', tags: ['instance'] }, perSecond('lines_tombstoned')), {
                alias: 'of a decommissioned device, from the spool',
              }),
            ],
          }),
          tablePanel({
            title: 'Refused, by device and reason',
            description:
              'Since the beginning, the latest first, with the newest topic and what was wrong with it. An empty device: the topic names none. muster dead-letters shows the payload too, and has it read again.',
            unit: 'string',
            noData: 'Nothing has been refused, ever.',
            width: 14,
            height: 10,
            queries: [
              sql(`
                SELECT device, reason, count, last_at AS latest, topic, detail, payload_size AS size
                FROM grafana.dead_letter ORDER BY last_at DESC LIMIT 500`),
            ],
            overrides: [
              deviceColumn(),
              column('count', { unit: 'none', 'custom.width': 80 }),
              ago('latest'),
              column('size', { unit: 'bytes', 'custom.width': 80 }),
            ],
          }),
        ],
      },
    ],
  });
}
