import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { aptInstall, aptIsUsable } from './apt.ts';
import { EngineError } from './engine-error.ts';
import { findProgram, type ManagedProcess } from './processes.ts';

const START_LIMIT_MS = 60_000;
const POLL_MS = 50;

/** Tells what is going on, one line at a time. */
export type Progress = (line: string) => void;

/**
 * The program of an engine: a local binary, else the package that apt installs.
 * @throws EngineError `not-installable` where neither is possible
 */
export async function engineProgram(
  engine: {
    readonly title: string;
    readonly program: string;
    readonly debianPackage: string;
    readonly urlVariable: string;
  },
  onProgress: Progress,
): Promise<string> {
  const found = findProgram(engine.program);
  if (found !== undefined) return found;
  const remedy = `install ${engine.title} so that "${engine.program}" is in PATH, or give a running one in ${engine.urlVariable}`;
  if (!aptIsUsable()) throw new EngineError('not-installable', `${engine.title} is missing; ${remedy}`);
  onProgress(`installing ${engine.title} (Debian package ${engine.debianPackage})`);
  await aptInstall([engine.debianPackage], onProgress);
  const installed = findProgram(engine.program);
  if (installed === undefined)
    throw new EngineError(
      'install-failed',
      `${engine.debianPackage} was installed but has no ${engine.program}; ${remedy}`,
    );
  return installed;
}

/**
 * Waits until an engine answers.
 * @throws EngineError `did-not-start` with the last words of its log, when it ends or does not answer in time
 */
export async function waitUntilAnswering(
  title: string,
  engine: ManagedProcess,
  logFile: string,
  answers: () => Promise<void>,
): Promise<void> {
  const deadline = Date.now() + START_LIMIT_MS;
  let last = '';
  while (Date.now() < deadline) {
    if (engine.end !== undefined) {
      throw new EngineError(
        'did-not-start',
        `${title} ended at once (code ${engine.end.code ?? engine.end.signal}); ${lastWords(logFile)}`,
      );
    }
    try {
      await answers();
      return;
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
      await delay(POLL_MS);
    }
  }
  throw new EngineError(
    'did-not-start',
    `${title} did not answer within ${START_LIMIT_MS / 1000} s (${last}); ${lastWords(logFile)}`,
  );
}

/** The end of a log, for an error. */
export function lastWords(logFile: string): string {
  const lines = readFileSync(logFile, 'utf8').trim().split('\n');
  return `its log ${logFile} ends with: ${lines.slice(-3).join(' / ').slice(-500)}`;
}
