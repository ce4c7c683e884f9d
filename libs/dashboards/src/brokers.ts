import { dashboard, type Dashboard } from './dashboard.ts';
import { ANY_IS_BAD, column, statPanel, tablePanel, timePanel, type Panel, type PanelOptions } from './panels.ts';
import { increase, influxQl, newest, overTime, perSecond, total } from './queries.ts';

const NO_STATISTICS =
  'No statistics in this time range. Ingestion reads the system topics of each Mosquitto: is it running, and may its account read them? Its log says so.';

/** A field of every broker over time, or how fast it grows. */
function byBroker(
  field: string,
  kind: 'gauge' | 'rate',
  options: Omit<PanelOptions, 'queries' | 'noData' | 'width'> & { readonly width?: number; readonly limits?: boolean },
): Panel {
  const select = kind === 'gauge' ? `last("${field}")` : perSecond(field);
  return timePanel({
    width: 8,
    ...options,
    noData: NO_STATISTICS,
    queries: [influxQl(overTime({ from: 'broker', select, tags: ['broker'] }), { alias: '$tag_broker' })],
  });
}

/** Each broker's own figures: who is connected where, what waits, what was dropped. */
export function brokers(): Dashboard {
  return dashboard({
    uid: 'muster-brokers',
    title: 'Brokers',
    description:
      'Each Mosquitto by its own figures: is one full, does something wait in it, did it drop anything, did it restart.',
    from: 'now-1h',
    rows: [
      {
        title: 'Now',
        panels: [
          statPanel({
            title: 'Dropped in range',
            description:
              'Messages that the brokers dropped because a client’s queue was full. Mosquitto acknowledges them to the sender all the same: they are lost and nobody is told. Any number here is a reason to look for the client that does not keep up.',
            unit: 'none',
            noData: NO_STATISTICS,
            width: 5,
            height: 6,
            decimals: 0,
            background: true,
            thresholds: ANY_IS_BAD,
            queries: [
              influxQl(increase({ from: 'broker', field: 'publish_dropped', tags: ['broker'] }, 'broker'), {
                alias: '$tag_broker',
              }),
            ],
          }),
          statPanel({
            title: 'Clients connected',
            description:
              'Over all brokers, services among them: each broker has connections of ingestion, presence and registry.',
            unit: 'none',
            noData: NO_STATISTICS,
            width: 5,
            height: 6,
            curve: true,
            queries: [
              influxQl(total({ from: 'broker', tags: ['broker'] }, 'last("clients_connected")'), { alias: 'clients' }),
            ],
          }),
          byBroker('stored', 'gauge', {
            title: 'Messages stored',
            description:
              'Messages that each broker keeps: retained ones, and what waits for clients that are away or slow. A rising line is a consumer that is behind; with Muster’s settings a client’s queue is full at 1,000,000, and what comes then is dropped.',
            unit: 'short',
            width: 14,
            height: 6,
            limits: true,
            thresholds: [
              { from: null, color: 'green' },
              { from: 500_000, color: 'yellow' },
              { from: 800_000, color: 'red' },
            ],
          }),
          tablePanel({
            title: 'Brokers',
            description:
              'The newest figures of each broker in the time range. Peak is the most clients at once since its start; Mosquitto tells no limit, so set yours against it. Retained includes 53 to 56 system topics of Mosquitto itself. A short uptime is a restart.',
            unit: 'none',
            noData: NO_STATISTICS,
            width: 24,
            height: 7,
            queries: [
              influxQl(
                newest(
                  'broker',
                  [
                    'clients_connected',
                    'clients_maximum',
                    'subscriptions',
                    'stored',
                    'retained',
                    'publish_dropped',
                    'heap',
                    'uptime',
                    'version',
                  ],
                  'broker',
                ),
                { format: 'table' },
              ),
            ],
            overrides: [
              column('Time', { 'custom.hidden': true }),
              column('clients_connected', { displayName: 'connected' }),
              column('clients_maximum', { displayName: 'peak' }),
              column('publish_dropped', {
                displayName: 'dropped since start',
                'custom.cellOptions': { type: 'color-text' },
                thresholds: {
                  mode: 'absolute',
                  steps: [
                    { value: null, color: 'green' },
                    { value: 1, color: 'red' },
                  ],
                },
              }),
              column('heap', { unit: 'bytes' }),
              column('uptime', {
                unit: 's',
                'custom.cellOptions': { type: 'color-text' },
                thresholds: {
                  mode: 'absolute',
                  steps: [
                    { value: null, color: 'yellow' },
                    { value: 600, color: 'text' },
                  ],
                },
              }),
              column('version', { unit: 'string', 'custom.minWidth': 160 }),
            ],
          }),
        ],
      },
      {
        title: 'Load',
        panels: [
          byBroker('clients_connected', 'gauge', {
            title: 'Clients by broker',
            description: 'Connected clients. One line falls and another rises: devices moved to another shard.',
            unit: 'none',
          }),
          byBroker('messages_received', 'rate', {
            title: 'Packets received',
            description: 'MQTT packets of every kind from clients, a second, acknowledgements and pings among them.',
            unit: 'cps',
          }),
          byBroker('messages_sent', 'rate', {
            title: 'Packets sent',
            description: 'MQTT packets of every kind to clients, a second.',
            unit: 'cps',
          }),
          byBroker('publish_dropped', 'rate', {
            title: 'Dropped',
            description: 'Messages dropped because a queue was full, a second. It should be a line at 0.',
            unit: 'cps',
            limits: true,
            thresholds: [
              { from: null, color: 'green' },
              { from: 0.001, color: 'red' },
            ],
          }),
          byBroker('bytes_received', 'rate', {
            title: 'Bytes received',
            description: 'What clients send, a second.',
            unit: 'Bps',
          }),
          byBroker('bytes_sent', 'rate', {
            title: 'Bytes sent',
            description: 'What clients get, a second.',
            unit: 'Bps',
          }),
        ],
      },
      {
        title: 'State',
        panels: [
          byBroker('retained', 'gauge', {
            title: 'Retained messages',
            description:
              'Mosquitto counts 53 to 56 system topics of its own among them. Messages that expired stay in the count until somebody touches their topic.',
            unit: 'none',
          }),
          byBroker('subscriptions', 'gauge', {
            title: 'Subscriptions',
            description: 'Filters of all clients.',
            unit: 'none',
          }),
          byBroker('clients_disconnected', 'gauge', {
            title: 'Sessions without a client',
            description: 'Persistent sessions whose client is away; each may have a queue that grows.',
            unit: 'none',
          }),
          byBroker('heap', 'gauge', {
            title: 'Memory',
            description: 'Heap of each broker. 300,000 waiting messages take some 120 MB.',
            unit: 'bytes',
          }),
          byBroker('load_connections_1min', 'gauge', {
            title: 'New connections per minute',
            description:
              'The mean over the last minute. High while few clients are connected: devices reconnect again and again.',
            unit: 'cpm',
          }),
          byBroker('uptime', 'gauge', {
            title: 'Uptime',
            description:
              'A line that falls to 0 is a restart. After it, wills of the whole fleet are no news of the devices.',
            unit: 's',
          }),
        ],
      },
    ],
  });
}
