import path from 'node:path';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { BulkResult, CredentialsList } from '@muster/contract';
import mqtt, { type MqttClient } from 'mqtt';
import { authorization, psql, StartedSystem, stateFolder, type ReadyLine } from '../system.ts';
import { rounded, say } from './figures.ts';

const DEVICES = 1_000;
const TOPICS = 10;
const BROKERS = 2;
const VERIFIED_LIMIT_MS = 30_000;
const GIVE_UP_MS = 300_000;
const POLL_MS = 100;

async function inLanes(count: number, lanes: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: lanes }, async () => {
      while (next < count) await work(next++);
    }),
  );
}

async function request(address: ReadyLine, method: string, route: string, body?: unknown): Promise<unknown> {
  const answer = await fetch(`${address.api.url}/api/v1${route}`, {
    method,
    headers: {
      authorization: authorization(address).replace('authorization: ', ''),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (!answer.ok) throw new Error(`${method} ${route}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

/** Accounts for all devices, and on both brokers their retained messages. */
async function prepare(address: ReadyLine, devices: readonly string[], registryPassword: string): Promise<void> {
  const { items } = (await request(address, 'POST', '/credentials', { devices })) as CredentialsList;
  if (items.length !== devices.length) throw new Error(`${items.length} accounts`);
  const clients: readonly MqttClient[] = await Promise.all(
    address.broker.serviceUrls.map((url) =>
      mqtt.connectAsync(url, { username: 'muster.registry', password: registryPassword }),
    ),
  );
  await inLanes(devices.length, 20, async (index) => {
    const device = devices[index] ?? '';
    for (let topic = 0; topic < TOPICS; topic += 1)
      await Promise.all(
        clients.map((client) =>
          client.publishAsync(`devices/${device}/state/${topic}`, `state ${topic} of ${device}`, {
            qos: 1,
            retain: true,
          }),
        ),
      );
  });
  await Promise.all(clients.map((client) => client.endAsync()));
}

/** Resident memory of a process, in MiB; the largest that it had. */
function peakMiB(pid: number): number {
  const line = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return rounded(Number(line?.[1] ?? Number.NaN) / 1024);
}

/**
 * 1,000 devices with an account each and 10 retained topics on each of 2 brokers are decommissioned in bulk, by one
 * request. The watch runs from before it until the last device is verified, and goes on until the last one is done.
 */
export async function measure(): Promise<unknown> {
  const folder = path.join(stateFolder(), 'state');
  say('starting the system');
  const system = await StartedSystem.start(['--devices', '0', '--brokers', String(BROKERS), '--dir', folder], []);
  try {
    const { address } = system;
    const devices = Array.from({ length: DEVICES }, (_, index) => `bench-${index}`);
    const secrets = JSON.parse(readFileSync(path.join(folder, 'secrets.json'), 'utf8')) as { registry: string };
    await prepare(address, devices, secrets.registry);
    await delay(3_000);
    const registry = system.pidOf('registry');
    const beforeMiB = peakMiB(registry);
    say(`${DEVICES} devices × ${TOPICS} retained topics × ${BROKERS} brokers: decommissioning`);
    const startedMs = performance.now();
    const seconds = (): number => rounded((performance.now() - startedMs) / 1_000);
    const { changed } = (await request(address, 'POST', '/devices/bulk', {
      ...{ action: 'decommission', select: { ids: devices }, preview: false, limit: DEVICES, expect: DEVICES },
    })) as BulkResult;
    if (changed !== DEVICES) throw new Error(`${changed} of ${DEVICES} decommissionings have begun`);
    const requestedS = seconds();
    const until = async (states: string): Promise<number> => {
      for (;;) {
        const count = Number(await psql(address, `SELECT count(*) FROM decommission WHERE state IN (${states})`));
        if (count === DEVICES) return seconds();
        if (performance.now() - startedMs > GIVE_UP_MS) throw new Error(`${count} of ${DEVICES} after ${seconds()} s`);
        await delay(POLL_MS);
      }
    };
    const verifiedS = await until(`'verified', 'done'`);
    const doneS = await until(`'done'`);
    const cleared = Number(
      await psql(address, `SELECT sum(jsonb_array_length(report -> 'cleared')) FROM decommission`),
    );
    const refused = Number(
      await psql(
        address,
        `SELECT count(*) FROM decommission WHERE report -> 'account' -> 'revocation' ->> 'state' = 'refused'`,
      ),
    );
    const figures = {
      ...{ devices: DEVICES, topics: TOPICS, brokers: BROKERS, requestedS, verifiedS, doneS, cleared, refused },
      registryMiB: { before: beforeMiB, peak: peakMiB(registry) },
    };
    say(
      `all on record after ${requestedS} s, verified after ${verifiedS} s (wanted ≤ ${VERIFIED_LIMIT_MS / 1_000}), done after ${doneS} s`,
    );
    say(`${cleared} messages cleared, ${refused} accounts seen to be refused on every broker`);
    say(`registry: ${figures.registryMiB.before} MiB before, at most ${figures.registryMiB.peak} MiB`);
    return figures;
  } finally {
    await system.stop();
  }
}
