import { createHmac } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { openDatabase } from '@muster/database';
import { AccountStore } from '@muster/security';
import mqtt, { type MqttClient } from 'mqtt';
import { muster, type ReadyLine } from '../system.ts';
import type { Attempt } from './attempts.ts';

const ACCOUNTS = 10_000;
const CONNECTED = 400;
const WATCHED = 20;
const WAIT_LIMIT_MS = 250;
const OBSERVED_MS = 2_000;

function passwordOf(name: string): string {
  return createHmac('sha256', 'only of this check').update(name).digest('base64url');
}

/** Publishes at QoS 1 one after the other; keeps the longest wait for a PUBACK. */
class Watch {
  longestMs = 0;
  #running = true;
  readonly #client: MqttClient;
  readonly #ended: Promise<void>;

  constructor(client: MqttClient, name: string) {
    this.#client = client;
    this.#ended = this.#run(`devices/${name}/ack`);
  }

  async stop(): Promise<number> {
    this.#running = false;
    await this.#ended;
    return this.longestMs;
  }

  async #run(topic: string): Promise<void> {
    while (this.#running) {
      const startedAt = performance.now();
      await this.#client.publishAsync(topic, 'x', { qos: 1 });
      this.longestMs = Math.max(this.longestMs, performance.now() - startedAt);
      await delay(10);
    }
  }
}

/**
 * With 10,000 accounts and 400 devices connected one account is revoked: nobody else may lose the connection or wait
 * longer than 250 ms for an answer.
 */
export async function accountsAtScale(address: ReadyLine, ca: string): Promise<readonly Attempt[]> {
  const names = Array.from({ length: ACCOUNTS }, (_, index) => `crowd-${index}`);
  await provision(address, names);
  const url = address.broker.urls[0] ?? '';
  const disconnected: string[] = [];
  const clients: MqttClient[] = [];
  for (const name of names.slice(0, CONNECTED)) {
    const options = { protocolVersion: 5, reconnectPeriod: 0, ca, username: name, password: passwordOf(name) } as const;
    const client = await mqtt.connectAsync(url, options);
    client.on('close', () => disconnected.push(name));
    client.on('error', () => undefined);
    clients.push(client);
  }
  const watches = clients.slice(1, 1 + WATCHED).map((client, index) => new Watch(client, `crowd-${index + 1}`));
  await delay(OBSERVED_MS);
  const quietMs = Math.max(...watches.map(({ longestMs }) => longestMs));
  for (const watch of watches) watch.longestMs = 0;
  const { code } = await muster(address, 'device', 'revoke', 'crowd-0');
  await delay(OBSERVED_MS);
  const longestMs = Math.max(...(await Promise.all(watches.map((watch) => watch.stop()))));
  const others = disconnected.filter((name) => name !== 'crowd-0');
  for (const client of clients) client.removeAllListeners('close').end(true);
  return [
    {
      name: `${ACCOUNTS} accounts, ${CONNECTED} connected, one revoked: it`,
      expected: 'disconnected',
      found: disconnected.includes('crowd-0') ? 'disconnected' : 'still connected',
      ok: code === 0 && disconnected.includes('crowd-0'),
    },
    {
      name: '… the others',
      expected: '0 disconnected',
      found: `${others.length} disconnected`,
      ok: others.length === 0,
    },
    {
      name: '… the longest wait of the others for a PUBACK',
      expected: `< ${WAIT_LIMIT_MS} ms`,
      found: `${longestMs.toFixed(0)} ms (without a change: ${quietMs.toFixed(0)} ms)`,
      ok: longestMs < WAIT_LIMIT_MS,
    },
  ];
}

async function provision(address: ReadyLine, names: readonly string[]): Promise<void> {
  const database = openDatabase(address.postgres.url, 'security-check', 1);
  try {
    const accounts = new AccountStore(database);
    await accounts.ensure(names.map((username) => ({ kind: 'device', username, password: passwordOf(username) })));
    const states = await accounts.whenApplied(['mosquitto-0'], await accounts.version(), 30_000);
    if (states.some(({ applied }) => !applied))
      throw new Error(`${names.length} accounts were not applied within 30 s`);
  } finally {
    await database.$disconnect();
  }
}
