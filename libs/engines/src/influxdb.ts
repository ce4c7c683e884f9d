import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { EngineError } from './engine-error.ts';
import { engineProgram, startEngine, type Progress } from './engine.ts';
import type { ManagedProcess } from './processes.ts';

/** Where InfluxDB keeps its files, and its one account. */
export interface InfluxdbPlan {
  readonly folder: string;
  readonly logFile: string;
  readonly port: number;
  readonly database: string;
  readonly username: string;
  readonly password: string;
}

const RETENTION = '90d';

function configuration(plan: InfluxdbPlan): string {
  const folder = (name: string): string => JSON.stringify(path.join(plan.folder, name));
  return `reporting-disabled = true
bind-address = "127.0.0.1:0"

[meta]
  dir = ${folder('meta')}

[data]
  dir = ${folder('data')}
  wal-dir = ${folder('wal')}
  index-version = "tsi1"
  query-log-enabled = false

[http]
  bind-address = "127.0.0.1:${plan.port}"
  auth-enabled = true
  log-enabled = false

[monitor]
  store-enabled = false
`;
}

/** The program of InfluxDB 1.x, found or installed. */
export async function influxdbProgram(onProgress: Progress): Promise<string> {
  return engineProgram(
    { title: 'InfluxDB', program: 'influxd', debianPackage: 'influxdb', urlVariable: 'MUSTER_INFLUXDB_URL' },
    onProgress,
  );
}

/**
 * Starts InfluxDB on the loopback interface, with its account and its database.
 * @throws EngineError
 */
export async function startInfluxdb(plan: InfluxdbPlan, onProgress: Progress): Promise<ManagedProcess> {
  const program = await influxdbProgram(onProgress);
  mkdirSync(plan.folder, { recursive: true, mode: 0o700 });
  const configurationFile = path.join(plan.folder, 'influxdb.conf');
  writeFileSync(configurationFile, configuration(plan), { mode: 0o600 });
  const url = `http://127.0.0.1:${plan.port}`;
  return startEngine(
    'InfluxDB',
    {
      name: 'influxdb',
      command: program,
      args: ['run', '-config', configurationFile],
      logFile: plan.logFile,
      // The package's own configuration must not be read on top.
      env: { INFLUXDB_CONFIG_PATH: configurationFile, HOME: plan.folder },
    },
    plan.folder,
    async () => {
      const answer = await fetch(`${url}/ping`, { signal: AbortSignal.timeout(1_000) });
      if (!answer.ok) throw new Error(`ping: ${answer.status}`);
      // The first account may be made without one; later the same statement succeeds as that account.
      await statement(url, plan, `CREATE USER "${plan.username}" WITH PASSWORD '${plan.password}' WITH ALL PRIVILEGES`);
      await statement(
        url,
        plan,
        `CREATE DATABASE "${plan.database}" WITH DURATION ${RETENTION} NAME "muster_${RETENTION}"`,
      );
    },
  );
}

async function statement(url: string, plan: InfluxdbPlan, influxql: string): Promise<void> {
  const answer = await fetch(`${url}/query`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${plan.username}:${plan.password}`).toString('base64')}` },
    body: new URLSearchParams({ q: influxql }),
    signal: AbortSignal.timeout(20_000),
  });
  const body = (await answer.json()) as { error?: string; results?: { error?: string }[] };
  const fault = body.error ?? body.results?.find(({ error }) => error !== undefined)?.error;
  if (fault !== undefined) {
    throw new EngineError(
      'did-not-start',
      `InfluxDB refused to set up its account or database: ${fault}; if its folder ${plan.folder} is from elsewhere, move it away`,
    );
  }
}
