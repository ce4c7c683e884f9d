import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { EngineError } from './engine-error.ts';
import { ManagedProcess, type ProcessPlan } from './processes.ts';

const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 5_000;
const POLL_MS = 50;

/**
 * Starts an engine and waits until `prepare` succeeds, which asks it for something and sets it up; what fails is ended.
 * @throws EngineError `did-not-start` with the last words of its log, when it ends or does not answer in time; and what
 * `prepare` throws of that class
 */
export async function startEngine(
  title: string,
  plan: ProcessPlan,
  dataFolder: string,
  prepare: () => Promise<void>,
): Promise<ManagedProcess> {
  const engine = await ManagedProcess.start(plan);
  try {
    await untilPrepared(title, engine, prepare, () => {
      return `${lastWords(plan.logFile)}; if ${dataFolder} is damaged or of another version, restore it or move it away`;
    });
    return engine;
  } catch (error) {
    await engine.stop(STOP_LIMIT_MS);
    throw error;
  }
}

async function untilPrepared(
  title: string,
  engine: ManagedProcess,
  prepare: () => Promise<void>,
  explanation: () => string,
): Promise<void> {
  const deadline = Date.now() + START_LIMIT_MS;
  let last = '';
  while (Date.now() < deadline) {
    if (engine.end !== undefined) {
      const how = engine.end.signal ?? `code ${engine.end.code}`;
      throw new EngineError('did-not-start', `${title} ended at once (${how}); ${explanation()}`);
    }
    try {
      await prepare();
      return;
    } catch (error) {
      if (error instanceof EngineError) throw error;
      last = error instanceof Error ? error.message : String(error);
      await delay(POLL_MS);
    }
  }
  throw new EngineError(
    'did-not-start',
    `${title} did not answer within ${START_LIMIT_MS / 1000} s (${last}); ${explanation()}`,
  );
}

/** The end of a log, for an error. */
export function lastWords(logFile: string): string {
  const lines = readFileSync(logFile, 'utf8').trim().split('\n');
  return `its log ${logFile} ends with: ${lines.slice(-3).join(' / ').slice(-500)}`;
}
