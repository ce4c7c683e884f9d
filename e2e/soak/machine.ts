import { availableParallelism, cpus, totalmem } from 'node:os';
import { findProgram } from '@muster/engines';
import { execute } from '../system.ts';

const ANSWER_LIMIT_MS = 5_000;

/** The machine in a few words: processor, cores, memory, and the versions of what stands beside the product. */
export async function describeMachine(influxdbUrl: string): Promise<string> {
  const model = cpus()[0]?.model ?? 'an unknown processor';
  const gigabytes = Math.round(totalmem() / 1e9);
  const versions = [`Node ${process.versions.node}`, await mosquittoVersion(), await influxdbVersion(influxdbUrl)];
  return `${availableParallelism()} cores (${model}), ${gigabytes} GB; ${versions.join(', ')}`;
}

async function mosquittoVersion(): Promise<string> {
  const program = findProgram('mosquitto');
  // Where there is no program the broker is started from this image.
  if (program === undefined) return 'eclipse-mosquitto:2';
  const { stdout } = await execute(program, ['-h']);
  return `Mosquitto ${/^mosquitto version (\S+)/m.exec(stdout)?.[1] ?? 'of an unknown version'}`;
}

async function influxdbVersion(url: string): Promise<string> {
  const { headers } = await fetch(`${url}/ping`, { signal: AbortSignal.timeout(ANSWER_LIMIT_MS) });
  return `InfluxDB ${headers.get('x-influxdb-version') ?? 'of an unknown version'}`;
}
