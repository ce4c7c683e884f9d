import { spawn } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { EngineError } from './engine-error.ts';
import { findProgram } from './processes.ts';

const POLICY = '/usr/sbin/policy-rc.d';
const OWN_POLICY = '#!/bin/sh\n# muster: no service is started while an engine is installed\nexit 101\n';
const LIMIT_MS = 10 * 60_000;
/** What apt-get says of downloads and packages; the rest is only of use when it fails. */
const WORTH_SHOWING = /^(?:Get:|Fetched |Unpacking |Setting up )/;

/** Whether packages can be installed here: Debian or a relative of it, as root. */
export function aptIsUsable(): boolean {
  return process.platform === 'linux' && process.getuid?.() === 0 && findProgram('apt-get') !== undefined;
}

/**
 * Installs Debian packages so that none of their services is started or enabled: Muster runs its own.
 * @throws EngineError `not-installable` without apt or root; `install-failed` with apt's last words
 */
export async function aptInstall(packages: readonly string[], onProgress: (line: string) => void): Promise<void> {
  if (!aptIsUsable()) {
    throw new EngineError(
      'not-installable',
      `install ${packages.join(', ')} with the package manager of this system, then start again`,
    );
  }
  // One that a killed start left behind is ours as well.
  const ownPolicy = !existsSync(POLICY) || readFileSync(POLICY, 'utf8') === OWN_POLICY;
  if (ownPolicy) {
    // invoke-rc.d(8): 101 forbids the action, whatever it is.
    writeFileSync(POLICY, OWN_POLICY);
    chmodSync(POLICY, 0o755);
  }
  const removePolicy = (): void => {
    if (ownPolicy) rmSync(POLICY, { force: true });
  };
  // A Ctrl-C may end the process before the installation does.
  process.once('exit', removePolicy);
  try {
    const install = [
      '-y',
      '-q',
      '--no-install-recommends',
      '-o',
      'DPkg::Lock::Timeout=120',
      '-o',
      'Dpkg::Use-Pty=0',
      'install',
      ...packages,
    ];
    try {
      await run('apt-get', install, onProgress);
    } catch {
      // The package lists may be missing or old, as they are on a new machine.
      await run('apt-get', ['-q', 'update'], onProgress);
      await run('apt-get', install, onProgress);
    }
    for (const service of packages) {
      await disableService(service);
    }
  } finally {
    process.removeListener('exit', removePolicy);
    removePolicy();
  }
}

/** The packages enable their services when they are configured; there is no switch that keeps them from it. */
async function disableService(name: string): Promise<void> {
  if (existsSync(`/lib/systemd/system/${name}.service`) && findProgram('deb-systemd-helper') !== undefined) {
    // The helper serves maintainer scripts alone, and knows them by this variable.
    await run('deb-systemd-helper', ['disable', `${name}.service`], () => undefined, {
      DPKG_MAINTSCRIPT_PACKAGE: name,
    });
  }
  if (existsSync(`/etc/init.d/${name}`)) await run('update-rc.d', [name, 'disable'], () => undefined);
}

async function run(
  command: string,
  args: readonly string[],
  onProgress: (line: string) => void,
  environment: Readonly<Record<string, string>> = {},
): Promise<void> {
  const lines: string[] = [];
  await new Promise<void>((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: LIMIT_MS,
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', ...environment },
    });
    const collect = (chunk: Buffer): void => {
      for (const line of chunk.toString('utf8').split('\n')) {
        if (line.trim() === '') continue;
        lines.push(line.trim());
        if (WORTH_SHOWING.test(line)) onProgress(line.trim());
      }
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0) resolve();
      else
        reject(
          new EngineError(
            'install-failed',
            `${command} ${args.join(' ')} ended with ${code}: ${lines.slice(-3).join(' / ')}`,
          ),
        );
    });
  });
}
