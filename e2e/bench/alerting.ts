import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { deviceId } from '@muster/contract';
import { discover, openDatabase } from '@muster/database';
import { freePort } from '@muster/engines';
import mqtt, { type MqttClient } from 'mqtt';
import { curl, muster, psql, StartedSystem, stateFolder } from '../system.ts';
import { quantile, rounded, say } from './figures.ts';

const DEVICES = 10_000;
const METRICS = ['temp', 'hum', 'co2', 'vbat', 'rssi'];
const INTERVAL_MS = 10_000;
const STEADY_MS = 60_000;
const BREACHES_PER_SECOND = 20;
const CLIENTS = 10;
const TICK_MS = 50;
const LIMIT = 1_000;
const DRAIN_MS = 10_000;

/** When each breach was published, and when each receiver was told of it. */
class Stopwatch {
  readonly published = new Map<string, number>();
  readonly told = { webhook: new Map<string, number[]>(), alertmanager: new Map<string, number[]>() };

  take(receiver: keyof Stopwatch['told'], key: string): void {
    const times = this.told[receiver].get(key) ?? [];
    times.push(performance.now());
    this.told[receiver].set(key, times);
  }

  /** Milliseconds from breach to notification, ascending; breaches that were never told; notifications too many. */
  result(receiver: keyof Stopwatch['told']): { waits: readonly number[]; lost: number; repeated: number } {
    const all = [...this.published].map(([key, atMs]) => ({ atMs, told: this.told[receiver].get(key) ?? [] }));
    return {
      waits: all
        .flatMap(({ atMs, told: [first] }) => (first === undefined ? [] : [first - atMs]))
        .sort((a, b) => a - b),
      lost: all.filter(({ told }) => told.length === 0).length,
      // Alertmanager is told again and again on purpose.
      repeated: receiver === 'webhook' ? all.filter(({ told }) => told.length > 1).length : 0,
    };
  }
}

interface HookBody {
  readonly data: {
    readonly alerts: readonly { readonly status: string; readonly rule: string; readonly subject: string }[];
  };
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

/** Takes what a webhook and an Alertmanager would be sent, over HTTP. */
async function listen(port: number, stopwatch: Stopwatch): Promise<() => void> {
  const server = createServer((request, response) => {
    void textOf(request).then((body) => {
      response.writeHead(200).end();
      if (request.url === '/hook') {
        for (const { status, rule, subject } of (JSON.parse(body) as HookBody).data.alerts)
          if (status === 'firing') stopwatch.take('webhook', `${rule} ${subject}`);
      } else
        for (const { labels, endsAt } of JSON.parse(body) as { labels: Record<string, string>; endsAt: string }[])
          if (Date.parse(endsAt) > Date.now())
            stopwatch.take('alertmanager', `${labels['alertname'] ?? ''} ${labels['subject'] ?? ''}`);
    });
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return () => server.close();
}

async function prepare(system: StartedSystem, folder: string): Promise<void> {
  const { address } = system;
  const database = openDatabase(address.postgres.url, 'bench', 1);
  await discover(
    database,
    Array.from({ length: DEVICES }, (_, index) => deviceId(`bench-${index}`)),
  );
  await database.$disconnect();
  // Ingestion makes a thousand new devices a minute; those that are known when it starts are not new.
  process.kill(address.pids['ingestion'] ?? 0, 'SIGTERM');
  while (!system.events.some(({ event, name }) => event === 'restarted' && name === 'ingestion')) await delay(100);
  const rules = path.join(folder, 'rules.yaml');
  const lines = METRICS.map((metric) => `  - { name: high-${metric}, kind: threshold, metric: ${metric}, above: 90 }`);
  writeFileSync(rules, `rules:\n${lines.join('\n')}\n`);
  const { code, stderr } = await muster(address, 'alert', 'rule', 'apply', '-f', rules);
  if (code !== 0) throw new Error(stderr);
  await delay(5_000);
}

/** Publishes the telemetry of all devices in turn, and from `fromMs` on the breaches among it. */
async function load(
  clients: readonly MqttClient[],
  stopwatch: Stopwatch,
  durationMs: number,
  withBreaches: boolean,
): Promise<number> {
  const startedMs = performance.now();
  let sent = 0;
  let breached = stopwatch.published.size;
  for (;;) {
    const elapsedMs = performance.now() - startedMs;
    if (elapsedMs >= durationMs) return sent;
    const dueMessages = Math.floor((elapsedMs / INTERVAL_MS) * DEVICES);
    const dueBreaches = withBreaches ? Math.floor((elapsedMs / 1_000) * BREACHES_PER_SECOND) : 0;
    for (; sent < dueMessages; sent += 1) {
      const device = `bench-${sent % DEVICES}`;
      const payload: Record<string, number> = Object.fromEntries(METRICS.map((metric) => [metric, 20 + (sent % 50)]));
      const metric = METRICS[breached % METRICS.length] ?? 'temp';
      const key = `high-${metric} ${device}`;
      if (breached < dueBreaches && !stopwatch.published.has(key)) {
        payload[metric] = 99;
        breached += 1;
        stopwatch.published.set(key, performance.now());
      }
      clients[sent % clients.length]?.publish(`devices/${device}/telemetry`, JSON.stringify(payload), { qos: 1 });
    }
    await delay(TICK_MS);
  }
}

/**
 * Breach → notification with 10,000 devices × 5 alert rules: every device reports five metrics every ten seconds over
 * MQTT, and 20 times a second one of them is over the limit of its rule. The watch runs from the moment before the
 * reading is published until the HTTP request is there, to a signed webhook and to the API of an Alertmanager.
 */
export async function measure(): Promise<unknown> {
  const folder = stateFolder();
  const stopwatch = new Stopwatch();
  const port = await freePort();
  const close = await listen(port, stopwatch);
  const file = path.join(folder, 'receivers.yaml');
  writeFileSync(
    file,
    `receivers:
  - { name: hook, type: webhook, url: 'http://127.0.0.1:${port}/hook', secret: '\${BENCH_SECRET}', match: { rule: 'high-*' },
      group_by: [rule, subject], group_wait: 0s, group_interval: 0s }
  - { name: router, type: alertmanager, url: 'http://127.0.0.1:${port}', match: { rule: 'high-*' } }
`,
  );
  Object.assign(process.env, {
    MUSTER_ALERTING_RECEIVERS: file,
    BENCH_SECRET: `whsec_${randomBytes(32).toString('base64')}`,
  });
  say('starting the system');
  const system = await StartedSystem.start(['--devices', '0', '--dir', path.join(folder, 'state')]);
  try {
    const { broker } = system.address;
    await prepare(system, folder);
    const clients = await Promise.all(
      Array.from({ length: CLIENTS }, () =>
        mqtt.connectAsync(broker.urls[0] ?? '', { username: broker.username, password: broker.password }),
      ),
    );
    say(`${DEVICES} devices report for the first time`);
    await load(clients, stopwatch, 2 * INTERVAL_MS, false);
    say(`${BREACHES_PER_SECOND} breaches a second for ${STEADY_MS / 1_000} s`);
    const messages = await load(clients, stopwatch, STEADY_MS, true);
    await delay(DRAIN_MS);
    const evaluated = await psql(system.address, 'SELECT count(*) FROM last_reading');
    const alerts = await curl(system.address, '/api/v1/deliveries?limit=1');
    if (alerts.status !== 200) throw new Error(`the log of deliveries answered ${alerts.status}`);
    await Promise.all(clients.map((client) => client.endAsync()));
    const webhook = stopwatch.result('webhook');
    const alertmanager = stopwatch.result('alertmanager');
    const spread = (waits: readonly number[]): Record<'p50Ms' | 'p99Ms' | 'maxMs', number> => ({
      p50Ms: rounded(quantile(waits, 0.5)),
      p99Ms: rounded(quantile(waits, 0.99)),
      maxMs: rounded(quantile(waits, 1)),
    });
    const figures = {
      devices: DEVICES,
      alertRules: METRICS.length,
      lastValues: Number(evaluated),
      readingsPerSecond: Math.round((messages * METRICS.length) / (STEADY_MS / 1_000)),
      breaches: stopwatch.published.size,
      webhook: spread(webhook.waits),
      alertmanager: spread(alertmanager.waits),
      lost: webhook.lost + alertmanager.lost,
      repeated: webhook.repeated,
    };
    for (const receiver of ['webhook', 'alertmanager'] as const) {
      const { p50Ms, p99Ms, maxMs } = figures[receiver];
      say(`breach → ${receiver}  p50 ${p50Ms} p99 ${p99Ms} (wanted ≤ ${LIMIT}) max ${maxMs} ms`);
    }
    say(
      `${figures.breaches} breaches among ${figures.readingsPerSecond} readings/s: ${figures.lost} lost, ${figures.repeated} told twice`,
    );
    return figures;
  } finally {
    await system.stop();
    close();
  }
}
