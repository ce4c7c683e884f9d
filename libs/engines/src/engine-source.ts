import { aptInstall, aptIsUsable } from './apt.ts';
import { dockerClient, requireDocker } from './docker.ts';
import { EngineError } from './engine-error.ts';
import { findProgram } from './processes.ts';

/** Tells what is going on, one line at a time. */
export type Progress = (line: string) => void;

/** Which engines to run: those that are found or can be had, local programs alone, or containers alone. */
export type EngineWay = 'auto' | 'local' | 'docker';

/** What an engine runs from: a program of this machine, or its official image by the Docker client. */
export type EngineSource =
  { readonly kind: 'program'; readonly program: string } | { readonly kind: 'image'; readonly docker: string };

/**
 * Where an engine comes from: a local binary, else Docker where its engine answers, else the package that apt installs.
 * @throws EngineError `not-installable` where none of that is possible
 */
export async function engineSource(
  engine: {
    readonly title: string;
    readonly program: string;
    readonly debianPackage: string;
    readonly urlVariable: string;
  },
  way: EngineWay,
  onProgress: Progress,
): Promise<EngineSource> {
  if (way === 'docker') return { kind: 'image', docker: requireDocker() };
  const found = findProgram(engine.program);
  if (found !== undefined) return { kind: 'program', program: found };
  const docker = way === 'auto' ? dockerClient() : undefined;
  if (docker !== undefined) return { kind: 'image', docker };
  const remedy = `install ${engine.title} so that "${engine.program}" is in PATH, start Docker, or give a running one in ${engine.urlVariable}`;
  if (!aptIsUsable()) throw new EngineError('not-installable', `${engine.title} is missing; ${remedy}`);
  onProgress(`installing ${engine.title} (Debian package ${engine.debianPackage})`);
  await aptInstall([engine.debianPackage], onProgress);
  const installed = findProgram(engine.program);
  if (installed !== undefined) return { kind: 'program', program: installed };
  throw new EngineError(
    'install-failed',
    `${engine.debianPackage} was installed but has no ${engine.program}; ${remedy}`,
  );
}
