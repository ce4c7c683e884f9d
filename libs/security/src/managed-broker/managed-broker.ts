import { createHash } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, statSync, writeSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { BrokerConnection, BrokerError, endSession, inParallel, type BrokerTarget } from '@muster/broker';
import AsyncLock from 'async-lock';
import type { BrokerFiles } from '../account-store.ts';
import { PROBE_USERNAME, SERVICE_NAMES, serviceUsername, type ServiceName } from '../acl-file.ts';
import { passwordHash, randomPassword, type PasswordEntry } from '../password-file.ts';
import { startedAtMs } from './process-start.ts';
import { servicesBack } from './services-back.ts';
import { shutOutBetween } from './shut-out.ts';

/** A broker did not take what it was given; the message says what to look at. */
export class BrokerFault extends Error {
  override readonly name = 'BrokerFault';
  readonly code = 'broker-fault';
}

/** The broker that an agent looks after. */
export interface ManagedBrokerOptions {
  /** Where the broker answers services; the account is the agent's own affair. */
  readonly target: BrokerTarget;
  /** The folder with the broker's `passwords`, `acl` and `pid`, and the agent's `probe` and `shut-out`. */
  readonly folder: string;
  /** The file in which the broker keeps what it holds; `mosquitto.db` in the folder unless told. */
  readonly persistenceFile?: string;
  /** Files of the broker's certificate: when their content changes it is told to read them again. */
  readonly certificateFiles: readonly string[];
  /** Ends what is under way when the agent stops. */
  readonly signal: AbortSignal;
  /** How long after a start of the broker its services are waited for; a minute unless told. */
  readonly returnLimitMs?: number;
  /** Services that were not back in time after a restart of the broker: what comes until they are is lost to them. */
  readonly onMissing: (services: readonly ServiceName[]) => void;
}

/** Makes the files of an agent's account for them. */
export type RenderFiles = (probe: PasswordEntry) => Promise<BrokerFiles>;

const PROBE_LIMIT_MS = 10_000;
const QUICK_PROBE_LIMIT_MS = 2_000;
const RETURN_LIMIT_MS = 60_000;
const SESSION_LIMIT_MS = 5_000;
/** The listener for services lets 200 in. */
const SESSIONS_AT_ONCE = 16;
/** Writing 300,000 queued messages takes 0.1 s (mqtt-pitfalls B14). */
const SAVE_LIMIT_MS = 20_000;
const SAVE_POLL_MS = 10;
/** What may carry the pid: the broker itself, or the Docker client that passes signals on to its container. */
const PROGRAMS = new Set(['mosquitto', 'docker']);

/** Mosquitto, its files and its process. */
export class ManagedBroker {
  readonly name: string;
  readonly #options: ManagedBrokerOptions;
  #applied: bigint | undefined;
  #certificates: string | undefined;
  /** One thing after the other: all connect by the same account, which a change of the files makes anew. */
  readonly #turns = new AsyncLock();

  constructor(options: ManagedBrokerOptions) {
    this.#options = options;
    this.name = options.target.name;
  }

  /** The version of the accounts that the broker uses; undefined until this agent has seen it take one. */
  get applied(): bigint | undefined {
    return this.#applied;
  }

  /**
   * Gives the broker its files and resolves when it uses them: it has let in an account that is in these alone, and has
   * no session of a device that they shut out.
   * @throws BrokerFault when it does not run or does not take them
   */
  async apply(render: RenderFiles): Promise<bigint> {
    return this.#turns.acquire('broker', () => this.#apply(render));
  }

  async #apply(render: RenderFiles): Promise<bigint> {
    const version = (await this.#recognize(render)) ?? (await this.#change(render));
    await this.#endSessionsLeft();
    this.#certificates = this.#certificateHash();
    this.#applied = version;
    return version;
  }

  /** The version, where the broker has it already: it was started with these very files, or another agent gave it them. */
  async #recognize(render: RenderFiles): Promise<bigint | undefined> {
    const password = this.#read('probe');
    const line = password === undefined ? undefined : this.#lineOf(PROBE_USERNAME);
    if (password === undefined || line === undefined) return undefined;
    const files = await render({ username: PROBE_USERNAME, passwordHash: line });
    if (files.acl !== this.#read('acl') || files.passwords !== this.#read('passwords')) return undefined;
    try {
      await this.#probe(password, QUICK_PROBE_LIMIT_MS);
      return files.version;
    } catch {
      // It has others in memory, or does not answer: it is told to read them, and a fault comes from there.
      return undefined;
    }
  }

  async #change(render: RenderFiles): Promise<bigint> {
    await this.#untilServicesAreBack();
    const password = randomPassword();
    const files = await render({ username: PROBE_USERNAME, passwordHash: passwordHash(password) });
    this.#applied = undefined;
    await this.#endSessionsOf(shutOutBetween(this.#read('passwords') ?? '', files.passwords));
    // The broker reads both at once; an account must not be there before what it may do.
    this.#write('acl', files.acl);
    this.#write('passwords', files.passwords);
    this.#write('probe', password);
    this.#signal('SIGHUP');
    await this.#probe(password, PROBE_LIMIT_MS);
    return files.version;
  }

  /**
   * Mosquitto 2.0.11 puts a session that waits into its list of those that expire a second time when it finds at SIGHUP
   * that its password does not hold, and reads that entry when the session is long gone: it ends by a fault, or takes
   * another client for expired. So no session may wait whose account is about to change.
   */
  async #endSessionsOf(devices: readonly string[]): Promise<void> {
    const shutOut = [...new Set([...this.#shutOut(), ...devices])];
    if (shutOut.length === 0) return;
    // On record first: who is connected until the change is left with a session, also where this agent ends meanwhile.
    this.#write('shut-out', shutOut.join('\n'));
    try {
      await this.#endSessions(shutOut);
    } catch (error) {
      // An account that is to go goes, also at a broker that answers no services; what hinders them is told after it.
      if (!(error instanceof BrokerError)) throw error;
    }
  }

  /** Ends what the last change has left of those that it has shut out: at the next SIGHUP these would wait, too. */
  async #endSessionsLeft(): Promise<void> {
    const shutOut = this.#shutOut();
    if (shutOut.length === 0) return;
    try {
      await this.#endSessions(shutOut);
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
      throw new BrokerFault(`${this.name} keeps sessions of accounts that have changed: ${error.message}`, {
        cause: error,
      });
    }
    this.#write('shut-out', '');
  }

  #shutOut(): readonly string[] {
    return (this.#read('shut-out') ?? '').split('\n').filter((device) => device !== '');
  }

  /** On the port of devices the client id is the user name, so that these are their client ids. */
  async #endSessions(devices: readonly string[]): Promise<void> {
    const password = this.#read('probe');
    const broker = { ...this.#options.target, username: PROBE_USERNAME, password };
    await inParallel(devices, SESSIONS_AT_ONCE, async (device) => {
      await endSession(broker, device, SESSION_LIMIT_MS);
    });
  }

  /**
   * A broker that was restarted has the sessions of services without their passwords. At SIGHUP it finds them without
   * authority, and drops what devices publish for them from then on, with a PUBACK (tried with 2.0.11: 5 of 5 lost). So
   * it is told to read its files only when the services are back.
   */
  async #untilServicesAreBack(): Promise<void> {
    const password = this.#read('probe');
    const pid = Number(this.#read('pid'));
    const started = startedAtMs(pid);
    const expected = SERVICE_NAMES.filter((service) => this.#lineOf(serviceUsername(service)) !== undefined);
    if (password === undefined || started === undefined || expected.length === 0) return;
    const waitMs = started + (this.#options.returnLimitMs ?? RETURN_LIMIT_MS) - Date.now();
    if (waitMs <= 0) return;
    const missing = await servicesBack({
      broker: { ...this.#options.target, username: PROBE_USERNAME, password },
      expected,
      sinceMs: started,
      waitMs,
      signal: this.#options.signal,
    });
    if (this.#options.signal.aborted) throw new BrokerFault(`${this.name} keeps its files: the agent stops`);
    if (missing.length > 0) this.#options.onMissing(missing);
  }

  /** What stands behind a name in the broker's password file. */
  #lineOf(username: string): string | undefined {
    const line = this.#read('passwords')
      ?.split('\n')
      .find((candidate) => candidate.startsWith(`${username}:`));
    return line?.slice(username.length + 1);
  }

  #read(name: string): string | undefined {
    const file = path.join(this.#options.folder, name);
    return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  }

  /**
   * Tells the broker to read its certificate again where that has changed; answers whether it was told.
   * @throws BrokerFault when it does not run
   */
  reloadCertificates(): boolean {
    const hash = this.#certificateHash();
    if (hash === this.#certificates) return false;
    this.#signal('SIGHUP');
    this.#certificates = hash;
    return true;
  }

  /**
   * Makes the broker write to disk what it holds (mqtt-pitfalls R10), and resolves when the file is a new one: it writes
   * another and renames it.
   * @throws BrokerFault when it does not run, or the file stays the old one
   */
  async save(): Promise<void> {
    return this.#turns.acquire('broker', () => this.#save());
  }

  async #save(): Promise<void> {
    const password = this.#read('probe');
    if (password === undefined) throw new BrokerFault(`${this.name} has no accounts of its agent yet`);
    // A broker that is starting has its pid on file, and would end by a signal that it does not handle yet.
    await this.#probe(password, QUICK_PROBE_LIMIT_MS);
    const file = this.#options.persistenceFile ?? path.join(this.#options.folder, 'mosquitto.db');
    const identity = (): string => {
      const found = statSync(file, { bigint: true, throwIfNoEntry: false });
      return found === undefined ? 'none' : `${found.ino} ${found.mtimeNs} ${found.ctimeNs}`;
    };
    const before = identity();
    this.#signal('SIGUSR1');
    const deadlineMs = Date.now() + SAVE_LIMIT_MS;
    while (identity() === before) {
      if (Date.now() > deadlineMs || this.#options.signal.aborted)
        throw new BrokerFault(
          `${this.name} was told to save, and ${file} is not a new one; has it persistence, there?`,
        );
      await delay(SAVE_POLL_MS);
    }
  }

  /** On disk before it takes the old one's place: after a power cut there is a whole file, old or new. */
  #write(name: string, text: string): void {
    const file = path.join(this.#options.folder, name);
    const descriptor = openSync(`${file}.new`, 'w', 0o600);
    try {
      writeSync(descriptor, text);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(`${file}.new`, file);
  }

  #signal(signal: NodeJS.Signals): void {
    const file = path.join(this.#options.folder, 'pid');
    try {
      const pid = Number(readFileSync(file, 'utf8'));
      // The number may be another process's by now, and most processes end on SIGHUP.
      const program = existsSync('/proc/self') ? readFileSync(`/proc/${pid}/comm`, 'utf8').trim() : 'mosquitto';
      if (!Number.isInteger(pid) || pid < 1 || !PROGRAMS.has(program))
        throw new Error(`${file} names ${pid}, which is ${program} and no Mosquitto`);
      process.kill(pid, signal);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new BrokerFault(`${this.name} could not be told to read its files (${why}); is it running?`, {
        cause: error,
      });
    }
  }

  async #probe(password: string, limitMs: number): Promise<void> {
    const connection = new BrokerConnection({
      broker: { ...this.#options.target, username: PROBE_USERNAME, password },
      clientId: `muster-agent-${this.name}`,
      sessionExpirySeconds: 0,
    });
    try {
      await connection.whenReady(limitMs);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new BrokerFault(`${this.name} has not taken its new files: ${why}; its log says why`, { cause: error });
    } finally {
      await connection.close(0);
    }
  }

  #certificateHash(): string {
    const hash = createHash('sha256');
    for (const file of this.#options.certificateFiles) hash.update(readFileSync(file));
    return hash.digest('hex');
  }
}
