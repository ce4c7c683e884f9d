import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { EngineError } from './engine-error.ts';
import { startEngine } from './engine.ts';
import { findProgram, type ManagedProcess, type ProcessPlan } from './processes.ts';

/** One engine in a container of its official image. */
export interface ContainerPlan {
  readonly name: string;
  readonly title: string;
  readonly image: string;
  /** Ports of the loopback interface, and those in the container that they lead to. */
  readonly ports: readonly { readonly host: number; readonly container: number }[];
  /** The folder on this machine, and where the container sees it. */
  readonly volume: { readonly host: string; readonly container: string };
  /** Passed by name, so that no password stands in a command line. */
  readonly environment: Readonly<Record<string, string>>;
  readonly command: readonly string[];
  readonly logFile: string;
  readonly stopSignal: NodeJS.Signals;
}

const ASK_LIMIT_MS = 5_000;

/** The Docker client, where an engine answers it; undefined otherwise. */
export function dockerClient(): string | undefined {
  const docker = findProgram('docker');
  if (docker === undefined) return undefined;
  const { status } = spawnSync(docker, ['version', '--format', '{{.Server.Version}}'], { timeout: ASK_LIMIT_MS });
  return status === 0 ? docker : undefined;
}

/**
 * The Docker client.
 * @throws EngineError `not-installable` where no Docker engine answers
 */
export function requireDocker(): string {
  const docker = dockerClient();
  if (docker !== undefined) return docker;
  throw new EngineError('not-installable', 'no Docker engine answers; start one, or start without --engines docker');
}

/**
 * Starts an engine in a container that lives as long as its client process, which is ours like every other child: it
 * passes signals on, and the container goes with it.
 * @throws EngineError `did-not-start`
 */
export async function startContainer(
  docker: string,
  plan: ContainerPlan,
  prepare: () => Promise<void>,
): Promise<ManagedProcess> {
  const name = containerName(plan);
  // A client that was killed could not end its container; the next one takes its place.
  spawnSync(docker, ['rm', '--force', name], { timeout: 30_000 });
  const process: ProcessPlan = {
    name: plan.name,
    command: docker,
    args: [
      ...['run', '--rm', '--name', name],
      ...plan.ports.flatMap(({ host, container }) => ['--publish', `127.0.0.1:${host}:${container}`]),
      ...['--volume', `${plan.volume.host}:${plan.volume.container}`],
      ...Object.keys(plan.environment).flatMap((variable) => ['--env', variable]),
      plan.image,
      ...plan.command,
    ],
    env: plan.environment,
    logFile: plan.logFile,
    stopSignal: plan.stopSignal,
  };
  return startEngine(plan.title, process, plan.volume.host, prepare);
}

/** One name for one state folder, so that two systems do not share a container. */
function containerName({ name, volume }: ContainerPlan): string {
  return `muster-${name}-${createHash('sha256').update(volume.host).digest('hex').slice(0, 12)}`;
}
