import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { BrokerConnection, type BrokerTarget } from '@muster/broker';
import { credentialsSchema, decommissionReportSchema, deviceSchema, encodeBirth } from '@muster/contract';
import { brokerTargets, brokerVariables, readConfiguration } from '@muster/service';
import type { Command } from 'commander';
import { z } from 'zod';
import { ApiError, callApi, type ApiTarget } from './api-client.ts';
import { apiTarget, ownAuthority, withApi } from './api-target.ts';
import { EXIT_FAILURE, say, write, type OutputOptions } from './output.ts';

/** How long a published reading may take until REST shows it. */
const READING_LIMIT_MS = 15_000;
const CONNECT_LIMIT_MS = 20_000;

interface VerifyOptions extends OutputOptions {
  readonly ca?: string;
}

/** Adds `muster verify` to the command line. */
export function addVerifyCommand(muster: Command): void {
  withApi(
    muster
      .command('verify')
      .description('publish as a new device, read it back over REST, and decommission the device again'),
  )
    .option('--ca <file>', 'the authority of the brokers, as PEM', ownAuthority())
    .action(async (options: VerifyOptions, command: Command) => {
      if (!(await verify(apiTarget(command), options))) process.exitCode = EXIT_FAILURE;
    });
}

/**
 * A new device gets its account, connects, publishes birth and telemetry, REST answers with them, and
 * the device is decommissioned; answers whether all of it held.
 * @throws ApiError, BrokerError for the first step that does not
 */
async function verify(target: ApiTarget, options: VerifyOptions): Promise<boolean> {
  const id = `verify-${Date.now().toString(36)}`;
  const tell = options.json ? say : write;
  const broker = await accountOf(target, id, options);
  tell(`${id} has an account at ${broker.url}`);
  const [device] = await Promise.allSettled([beDevice(target, id, broker, tell)]);
  const [decommissioning] = await Promise.allSettled([
    callApi(target, 'POST', `/devices/${id}/decommission`, decommissionReportSchema),
  ]);
  if (decommissioning.status === 'rejected') tell(`${id} could not be decommissioned, and keeps its account`);
  // What went wrong first is what to look at.
  if (device.status === 'rejected') throw device.reason;
  if (decommissioning.status === 'rejected') throw decommissioning.reason;
  const report = decommissioning.value;
  tell(`${id} is decommissioned: ${report.state}, ${report.cleared.length} retained messages cleared`);
  if (options.json) write(JSON.stringify({ device: id, report }));
  return report.state !== 'incomplete';
}

/** Connects, says that it is online, publishes a reading, and waits until REST shows both. */
async function beDevice(
  target: ApiTarget,
  id: string,
  broker: BrokerTarget,
  tell: (line: string) => void,
): Promise<void> {
  const value = Math.round(Math.random() * 10_000) / 100;
  const device = new BrokerConnection({ broker, clientId: id, sessionExpirySeconds: 0 });
  try {
    await device.whenReady(CONNECT_LIMIT_MS);
    tell(`${id} is connected${broker.url.startsWith('mqtts:') ? ' over TLS' : ''}`);
    await device.publish(`devices/${id}/status`, encodeBirth(1, Date.now()), { qos: 1, retain: true });
    const telemetry = JSON.stringify({ temp: value, ts: Date.now(), session: 1, seq: 1 });
    await device.publish(`devices/${id}/telemetry`, telemetry, { qos: 1 });
    const tookMs = await untilShown(target, id, value);
    tell(`REST shows temp ${value} and online after ${tookMs} ms`);
  } finally {
    await device.close(0);
  }
}

/** An account of its own where Muster manages the brokers' accounts, else the one that the environment names. */
async function accountOf(target: ApiTarget, id: string, { ca }: VerifyOptions): Promise<BrokerTarget> {
  if (process.env['MUSTER_BROKERS'] !== undefined) {
    const [broker] = brokerTargets(readConfiguration(z.object(brokerVariables), process.env));
    if (broker !== undefined) return { ...broker, ca: authority(ca) };
  }
  const { broker, username, password } = await callApi(target, 'POST', `/devices/${id}/credentials`, credentialsSchema);
  return { name: broker.name, url: broker.url, username, password, ca: authority(ca) };
}

function authority(file: string | undefined): string | undefined {
  return file === undefined ? undefined : readFileSync(file, 'utf8');
}

async function untilShown(target: ApiTarget, id: string, value: number): Promise<number> {
  const startedAt = performance.now();
  let found = 'nothing of it';
  while (performance.now() - startedAt < READING_LIMIT_MS) {
    try {
      const device = await callApi(target, 'GET', `/devices/${id}`, deviceSchema);
      if (device.readings['temp']?.value === value && device.presence.state === 'online')
        return Math.round(performance.now() - startedAt);
      found = `temp ${String(device.readings['temp']?.value)}, ${device.presence.state}`;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      found = error.message;
    }
    await delay(100);
  }
  throw new ApiError(`REST did not show the reading of ${id} within ${READING_LIMIT_MS / 1000} s; it shows ${found}`);
}
