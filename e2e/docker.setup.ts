import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { aptInstall, aptIsUsable, dockerClient, findProgram, ManagedProcess } from '@muster/engines';
import { execute } from './system.ts';

const START_LIMIT_MS = 30_000;

/**
 * A Docker engine of our own for the tests that need one, where none answers: with the images of the archives in the
 * folder MUSTER_DOCKER_IMAGES. Its networks get no rules of a firewall, and nothing of it is left.
 */
export default async function setup(): Promise<(() => Promise<void>) | undefined> {
  const images = process.env['MUSTER_DOCKER_IMAGES'];
  if (images === undefined || dockerClient() !== undefined) return undefined;
  if (findProgram('dockerd') === undefined && aptIsUsable())
    await aptInstall(['docker.io'], (line) => process.stderr.write(`  ${line}\n`));
  const dockerd = findProgram('dockerd');
  const docker = findProgram('docker');
  if (dockerd === undefined || docker === undefined) return undefined;

  const folder = mkdtempSync(path.join(tmpdir(), 'muster-docker-'));
  const host = `unix://${folder}/docker.sock`;
  const engine = await ManagedProcess.start({
    name: 'dockerd',
    command: dockerd,
    args: [
      ...['--data-root', `${folder}/data`, '--exec-root', `${folder}/run`, '--pidfile', `${folder}/pid`, '-H', host],
      ...['--iptables=false', '--ip6tables=false'],
    ],
    logFile: `${folder}/log`,
  });
  const stop = async (): Promise<void> => {
    await engine.stop(30_000);
    await execute('ip', ['link', 'delete', 'docker0']);
    rmSync(folder, { recursive: true, force: true });
  };
  process.env['DOCKER_HOST'] = host;
  const deadline = Date.now() + START_LIMIT_MS;
  while (dockerClient() === undefined) {
    if (engine.end !== undefined || Date.now() > deadline) {
      // Tests that need it say that no Docker engine answers, and in CI they fail.
      process.stderr.write(`dockerd did not start; its log is ${folder}/log\n`);
      delete process.env['DOCKER_HOST'];
      await engine.stop(5_000);
      return undefined;
    }
    await delay(200);
  }
  for (const archive of readdirSync(images).filter((name) => name.endsWith('.tar'))) {
    const { code, stderr } = await execute(docker, ['load', '--quiet', '--input', path.join(images, archive)], 120_000);
    if (code !== 0) process.stderr.write(`${archive} was not loaded: ${stderr}\n`);
  }
  return stop;
}
