import { createHash } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import path from 'node:path';
import { BrokerConnection, type BrokerTarget } from '@muster/broker';
import { passwordHash, PROBE_USERNAME, randomPassword, type BrokerFiles, type PasswordEntry } from '@muster/security';

/** A broker did not take what it was given; the message says what to look at. */
export class BrokerFault extends Error {
  override readonly name = 'BrokerFault';
  readonly code = 'broker-fault';
}

/** The broker that an agent looks after. */
export interface ManagedBrokerOptions {
  /** Where the broker answers services; the account is the agent's own affair. */
  readonly target: BrokerTarget;
  /** The folder with the broker's `passwords`, `acl` and `pid`. */
  readonly folder: string;
  /** Files of the broker's certificate: when their content changes it is told to read them again. */
  readonly certificateFiles: readonly string[];
}

/** Makes the files of an agent's account for them. */
export type RenderFiles = (probe: PasswordEntry) => Promise<BrokerFiles>;

const PROBE_LIMIT_MS = 10_000;
/** What may carry the pid: the broker itself, or the Docker client that passes signals on to its container. */
const PROGRAMS = new Set(['mosquitto', 'docker']);

/** Mosquitto, its files and its process. */
export class ManagedBroker {
  readonly name: string;
  readonly #options: ManagedBrokerOptions;
  #applied: bigint | undefined;
  #certificates: string | undefined;

  constructor(options: ManagedBrokerOptions) {
    this.#options = options;
    this.name = options.target.name;
  }

  /** The version of the accounts that the broker uses; undefined until this agent has seen it take one. */
  get applied(): bigint | undefined {
    return this.#applied;
  }

  /**
   * Gives the broker its files and resolves when it uses them: it has let in an account that is in these alone.
   * @throws BrokerFault when it does not run or does not take them
   */
  async apply(render: RenderFiles): Promise<bigint> {
    this.#applied = undefined;
    const password = randomPassword();
    const files = await render({ username: PROBE_USERNAME, passwordHash: passwordHash(password) });
    // The broker reads both at once; an account must not be there before what it may do.
    this.#write('acl', files.acl);
    this.#write('passwords', files.passwords);
    this.#signal('SIGHUP');
    await this.#probe(password);
    this.#certificates = this.#certificateHash();
    this.#applied = files.version;
    return files.version;
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

  async #probe(password: string): Promise<void> {
    const connection = new BrokerConnection({
      broker: { ...this.#options.target, username: PROBE_USERNAME, password },
      clientId: `muster-agent-${this.name}`,
      sessionExpirySeconds: 0,
    });
    try {
      await connection.whenReady(PROBE_LIMIT_MS);
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
