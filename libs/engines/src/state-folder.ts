import { chmodSync, existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { newToken, randomPassword } from '@muster/security';
import { EngineError } from './engine-error.ts';
import { isRunning, ownIdentity, type ProcessIdentity } from './processes.ts';

const SECRET_NAMES = [
  'postgres',
  'influxdb',
  'token',
  'ingestion',
  'presence',
  'registry',
  'automation',
  'alerting',
  'internal',
  'signing',
  'shared',
  'devices',
] as const;

/**
 * The passwords of a state folder, made when they are first needed: of the engines, of each service at the brokers, of
 * the account that devices may share, the API's token, the one between services, the one that signs reports, and what the passwords of virtual devices are derived from.
 */
export type Secrets = Readonly<Record<(typeof SECRET_NAMES)[number], string>>;

/** A folder that one start at a time uses for everything it keeps: `.muster`. */
export class StateFolder {
  private constructor(readonly path: string) {}

  /**
   * Takes the folder, making it when it is not there.
   * @throws EngineError `folder-in-use`, naming the pid that holds it
   */
  static take(folder: string): StateFolder {
    const absolute = path.resolve(folder);
    try {
      mkdirSync(path.join(absolute, 'logs'), { recursive: true, mode: 0o700 });
      chmodSync(absolute, 0o700);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new EngineError(
        'state-unusable',
        `${absolute} cannot be used as the state folder: ${why}; choose another with --dir PATH`,
      );
    }
    const lock = path.join(absolute, 'lock');
    // Written whole before it is linked into place: nobody ever reads half a lock.
    const own = `${lock}.${process.pid}`;
    writeFileSync(own, JSON.stringify(ownIdentity('muster')), { mode: 0o600 });
    for (;;) {
      if (linkExclusively(own, lock)) {
        rmSync(own);
        return new StateFolder(absolute);
      }
      const holder = readHolder(lock);
      if (holder !== undefined && isRunning(holder)) {
        rmSync(own);
        throw new EngineError(
          'folder-in-use',
          `${absolute} is in use by pid ${holder.pid}; stop that one, or choose another folder with --dir PATH`,
        );
      }
      removeStale(lock);
    }
  }

  /** Gives the folder back. */
  release(): void {
    rmSync(path.join(this.path, 'lock'), { force: true });
  }

  /** The log file of a process. */
  logFile(name: string): string {
    return path.join(this.path, 'logs', `${name}.log`);
  }

  /** The folder of an engine. */
  folder(name: string): string {
    return path.join(this.path, name);
  }

  /** The passwords of this folder; those that an earlier version did not have yet are added. */
  secrets(): Secrets {
    const file = path.join(this.path, 'secrets.json');
    const known = existsSync(file) ? readSecrets(file) : {};
    const made = Object.fromEntries(
      SECRET_NAMES.map((name) => [name, known[name] ?? (name === 'token' ? newToken() : randomPassword())]),
    ) as Secrets;
    writeFileSync(`${file}.new`, `${JSON.stringify(made, undefined, 2)}\n`, { mode: 0o600 });
    renameSync(`${file}.new`, file);
    return made;
  }
}

function readSecrets(file: string): Partial<Secrets> {
  const read = readJson(file) as Partial<Secrets> | null | undefined;
  const { postgres, influxdb } = read ?? {};
  if (typeof postgres === 'string' && typeof influxdb === 'string') return { ...read };
  throw new EngineError(
    'state-unusable',
    `${file} is damaged, and the databases beside it open with its passwords alone: restore it, or move the whole folder away to begin anew`,
  );
}

function linkExclusively(source: string, target: string): boolean {
  try {
    linkSync(source, target);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Takes a dead holder's lock away; one that another start has just put there is put back. */
function removeStale(lock: string): void {
  const aside = `${lock}.stale.${process.pid}`;
  try {
    renameSync(lock, aside);
  } catch {
    // Another start was quicker.
    return;
  }
  const holder = readHolder(aside);
  if (holder !== undefined && isRunning(holder)) linkExclusively(aside, lock);
  rmSync(aside, { force: true });
}

/** The JSON of a file; undefined where there is none, or nothing that can be read. */
function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    // Taken away meanwhile, or damaged: the caller says what that means.
    return undefined;
  }
}

function readHolder(lock: string): ProcessIdentity | undefined {
  const holder = readJson(lock) as Partial<ProcessIdentity> | null | undefined;
  return typeof holder?.pid === 'number' ? (holder as ProcessIdentity) : undefined;
}
