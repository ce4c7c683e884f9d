import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { BrokerTarget } from '@muster/broker';
import {
  freePort,
  influxdbSource,
  mosquittoSource,
  postgresSource,
  postgresUrl,
  startInfluxdb,
  startMosquitto,
  startPostgres,
  type ManagedProcess,
} from '@muster/engines';
import type { InfluxTarget } from '@muster/telemetry';
import type { TestProject } from 'vitest/node';

/** The engines that integration tests share. */
export interface SharedEngines {
  readonly broker: BrokerTarget;
  readonly influxdb: InfluxTarget;
  /** Of a database in which tests may create others. */
  readonly postgresUrl: string;
}

declare module 'vitest' {
  /** What the global set-up gives to tests. */
  export interface ProvidedContext {
    readonly engines: SharedEngines;
  }
}

const PASSWORD = 'integration-tests-only';

/** Starts a real Mosquitto, PostgreSQL and InfluxDB once for all integration tests. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = mkdtempSync(path.join(tmpdir(), 'muster-integration-'));
  const say = (line: string): void => void process.stderr.write(`engines: ${line}\n`);
  const account = { username: 'muster', password: PASSWORD };
  const [brokerPort, influxPort, postgresPort] = [await freePort(), await freePort(), await freePort()];
  const plan = (
    name: string,
    port: number,
  ): { folder: string; logFile: string; port: number; username: string; password: string } => ({
    folder: path.join(folder, name),
    logFile: path.join(folder, `${name}.log`),
    port,
    ...account,
  });
  const postgres = { ...plan('postgres', postgresPort), database: 'postgres' };
  const engines: ManagedProcess[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(engines.map((engine) => engine.stop(10_000)));
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    engines.push(
      await startMosquitto(
        { ...plan('mosquitto', brokerPort), account, name: 'mosquitto-0' },
        await mosquittoSource('auto', say),
      ),
    );
    engines.push(
      await startInfluxdb({ ...plan('influxdb', influxPort), database: 'muster' }, await influxdbSource('auto', say)),
    );
    engines.push(await startPostgres(postgres, postgresSource('auto'), say));
  } catch (error) {
    await stop();
    throw error;
  }
  project.provide('engines', {
    broker: { name: 'mosquitto-0', url: `mqtt://127.0.0.1:${brokerPort}`, ...account },
    influxdb: { url: `http://127.0.0.1:${influxPort}`, database: 'muster', ...account },
    postgresUrl: postgresUrl(postgres),
  });
  return stop;
}
