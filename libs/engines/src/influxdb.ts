import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { EngineError } from './engine-error.ts';
import { startContainer } from './docker.ts';
import { engineSource, type EngineSource, type EngineWay, type Progress } from './engine-source.ts';
import { startEngine } from './engine.ts';
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

/** Where InfluxDB comes from: 1.x as a program, 2.7 as an image. */
export async function influxdbSource(way: EngineWay, onProgress: Progress): Promise<EngineSource> {
  return engineSource(
    { title: 'InfluxDB', program: 'influxd', debianPackage: 'influxdb', urlVariable: 'MUSTER_INFLUXDB_URL' },
    way,
    onProgress,
  );
}

/**
 * Starts InfluxDB on the loopback interface, with its account and its database.
 * @throws EngineError
 */
export async function startInfluxdb(plan: InfluxdbPlan, source: EngineSource): Promise<ManagedProcess> {
  const url = `http://127.0.0.1:${plan.port}`;
  const ping = async (): Promise<void> => {
    const answer = await fetch(`${url}/ping`, { signal: AbortSignal.timeout(1_000) });
    if (!answer.ok) throw new Error(`ping: ${answer.status}`);
  };
  if (source.kind === 'image') return startInContainer(source.docker, plan, url);
  mkdirSync(plan.folder, { recursive: true, mode: 0o700 });
  const configurationFile = path.join(plan.folder, 'influxdb.conf');
  writeFileSync(configurationFile, configuration(plan), { mode: 0o600 });
  return startEngine(
    'InfluxDB',
    {
      name: 'influxdb',
      command: source.program,
      args: ['run', '-config', configurationFile],
      logFile: plan.logFile,
      // The package's own configuration must not be read on top.
      env: { INFLUXDB_CONFIG_PATH: configurationFile, HOME: plan.folder },
    },
    plan.folder,
    async () => {
      await ping();
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

/** InfluxDB 2: the password is the admin token, which HTTP Basic takes with the name of the first user. */
async function startInContainer(docker: string, plan: InfluxdbPlan, url: string): Promise<ManagedProcess> {
  // Its files are of another format than those of 1.x.
  const folder = `${plan.folder}-docker`;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return startContainer(
    docker,
    {
      ...{ name: 'influxdb', title: 'InfluxDB', image: 'influxdb:2.7', logFile: plan.logFile },
      ports: [{ host: plan.port, container: 8086 }],
      volume: { host: folder, container: '/var/lib/influxdb2' },
      environment: {
        DOCKER_INFLUXDB_INIT_MODE: 'setup',
        DOCKER_INFLUXDB_INIT_USERNAME: plan.username,
        DOCKER_INFLUXDB_INIT_PASSWORD: plan.password,
        DOCKER_INFLUXDB_INIT_ADMIN_TOKEN: plan.password,
        DOCKER_INFLUXDB_INIT_ORG: 'muster',
        DOCKER_INFLUXDB_INIT_BUCKET: plan.database,
        DOCKER_INFLUXDB_INIT_RETENTION: RETENTION,
      },
      command: [],
      stopSignal: 'SIGTERM',
    },
    async () => {
      // While it sets itself up another one answers, which knows no account yet.
      const answer = await fetch(`${url}/query?db=${plan.database}&q=${encodeURIComponent('SHOW MEASUREMENTS')}`, {
        headers: { authorization: basic(plan) },
        signal: AbortSignal.timeout(1_000),
      });
      if (!answer.ok) throw new Error(`query: ${answer.status}`);
    },
  );
}

function basic({ username, password }: InfluxdbPlan): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

async function statement(url: string, plan: InfluxdbPlan, influxql: string): Promise<void> {
  const answer = await fetch(`${url}/query`, {
    method: 'POST',
    headers: { authorization: basic(plan) },
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
