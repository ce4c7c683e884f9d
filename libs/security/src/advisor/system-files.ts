import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { MAX_ACCOUNTS_LENGTH, parseAccessList } from './access-list.ts';
import { AdvisorError } from './advisor-error.ts';
import { keyFits, readCertificate } from './certificate.ts';
import {
  includedFolders,
  MAX_CONFIGURATION_LENGTH,
  parseConfiguration,
  valueOf,
  type Configuration,
  type Setting,
  type Source,
} from './configuration.ts';
import { parsePasswordFile } from './password-file.ts';
import type { Evidence, NamedFile } from './subject.ts';

const MOST_INCLUDED_FILES = 1_000;
const OTHERS_MAY_READ = 0o004;
const GROUP_MAY_READ = 0o040;
/** The account that Mosquitto becomes when it is started by root and no other is named. */
const DEFAULT_ACCOUNT = 'mosquitto';
/** Options that name a file which is judged. */
const FILE_OPTIONS = [
  ...['acl_file', 'password_file', 'psk_file', 'plugin'],
  ...['cafile', 'certfile', 'keyfile', 'crlfile'],
];

function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
}

/** UTF-8, or for the comments of another age Latin-1; what is neither is found by its control characters. */
function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    // Not UTF-8; every byte is a character of Latin-1.
    return Buffer.from(bytes).toString('latin1');
  }
}

/** The order in which Mosquitto loads included files: by letter, and of one letter the capital first. */
function loadingOrder(left: string, right: string): number {
  const [a, b] = [left.toLowerCase(), right.toLowerCase()];
  if (a === b) return left < right ? -1 : 1;
  return a < b ? -1 : 1;
}

/** An account of this machine by its numbers. */
export interface MachineAccount {
  readonly uid: number;
  readonly gid: number;
  /** Every group that it is in. */
  readonly groups: readonly number[];
}

/**
 * The account that the broker becomes when root starts it; undefined where it stays root, or this machine has no such
 * account.
 */
export function brokerAccount({ settings }: Pick<Configuration, 'settings'>): MachineAccount | undefined {
  const name = valueOf(settings, 'user') ?? DEFAULT_ACCOUNT;
  const fields = (file: string): readonly (readonly string[])[] => {
    try {
      return readFileSync(file, 'utf8')
        .split('\n')
        .map((line) => line.split(':'));
    } catch {
      // A system without these files has no accounts of this kind.
      return [];
    }
  };
  const [, , uid, gid] = fields('/etc/passwd').find(([account]) => account === name) ?? [];
  if (uid === undefined || gid === undefined || Number(uid) === 0) return undefined;
  const others = fields('/etc/group').filter(([, , , members]) => members?.split(',').includes(name));
  return { uid: Number(uid), gid: Number(gid), groups: [gid, ...others.map(([, , number]) => number)].map(Number) };
}

/** Reads what a configuration consists of and names; relative paths count from the folder of the main file. */
export class SystemFiles {
  readonly #folder: string;

  /** @param file path of mosquitto.conf */
  constructor(readonly file: string) {
    this.#folder = path.dirname(path.resolve(file));
  }

  /**
   * The configuration with everything that it includes.
   * @throws AdvisorError `unreadable`, `too-large`, `not-text`
   */
  configuration(): Configuration {
    const source = this.source(this.file, MAX_CONFIGURATION_LENGTH);
    const included = new Map(
      includedFolders(source).flatMap((folder) => {
        const sources = this.#included(folder);
        return sources === undefined ? [] : [[folder, sources] as const];
      }),
    );
    return parseConfiguration(source, included);
  }

  /**
   * What lies outside of the configuration.
   * @throws AdvisorError `too-large`, `not-text` for a file that is not what the configuration takes it for
   */
  evidence(configuration: Configuration, now: Date): Evidence {
    const { settings, listeners, bridges, file } = configuration;
    const account = brokerAccount(configuration);
    const all = [...settings, ...[...listeners, ...bridges].flatMap((one) => one.settings)];
    const named = all.filter(({ name }) => FILE_OPTIONS.includes(name));
    const own = [...new Set([file, ...all.map(({ place }) => place.file)])];
    const pairs = listeners.map((listener) => [
      valueOf(listener.settings, 'certfile'),
      valueOf(listener.settings, 'keyfile'),
    ]);
    return {
      files: new Map([
        ...own.map((name) => [name, this.#look(name, account)] as const),
        ...named.map((setting) => [setting.value, this.#named(setting, account)] as const),
      ]),
      keyFits: new Map(
        pairs.flatMap(([certificate, key]) => {
          const fits =
            certificate === undefined || key === undefined
              ? undefined
              : keyFits(this.#textOrNothing(certificate), this.#textOrNothing(key));
          return fits === undefined ? [] : [[`${certificate}\n${key}`, fits] as const];
        }),
      ),
      now,
    };
  }

  /**
   * The text of a file.
   * @throws AdvisorError `unreadable`, `too-large`
   */
  source(name: string, longest: number): Source {
    const file = this.resolve(name);
    try {
      const status = statSync(file);
      if (!status.isFile()) throw new AdvisorError('unreadable', `${name} is no regular file`);
      if (status.size > longest)
        throw new AdvisorError(
          'too-large',
          `${name} has ${status.size.toLocaleString('en')} bytes and at most ${longest.toLocaleString('en')} are read; is it the right file?`,
        );
      return { file: name, text: decode(readFileSync(file)) };
    } catch (error) {
      if (error instanceof AdvisorError) throw error;
      const why = errorCode(error) === 'ENOENT' ? 'there is no such file' : errorCode(error);
      throw new AdvisorError('unreadable', `${name} cannot be read: ${why}`, undefined, { cause: error });
    }
  }

  /** Where a path of the configuration leads. */
  resolve(name: string): string {
    return name === this.file ? path.resolve(name) : path.resolve(this.#folder, name);
  }

  #included(folder: string): readonly Source[] | undefined {
    let names: readonly string[];
    try {
      names = readdirSync(this.resolve(folder));
    } catch {
      // Said as a finding: Mosquitto does not start without the folder.
      return undefined;
    }
    const files = names.filter((name) => name.endsWith('.conf')).sort(loadingOrder);
    if (files.length > MOST_INCLUDED_FILES)
      throw new AdvisorError('too-large', `${folder} has ${files.length} files and at most 1,000 are read`);
    return files.map((name) => this.source(path.join(folder, name), MAX_CONFIGURATION_LENGTH));
  }

  #look(name: string, account: MachineAccount | undefined): NamedFile {
    try {
      const { mode, uid, gid } = statSync(this.resolve(name));
      const readableByOthers = (mode & OTHERS_MAY_READ) !== 0;
      const isInGroup = (mode & GROUP_MAY_READ) !== 0 && account?.groups.includes(gid) === true;
      const readableByRootAlone = account !== undefined && uid === 0 && !readableByOthers && !isInGroup;
      return { state: 'present', readableByOthers, readableByRootAlone };
    } catch (error) {
      const isMissing = ['ENOENT', 'ENOTDIR'].includes(errorCode(error));
      return { state: isMissing ? 'missing' : 'unreadable', readableByOthers: false };
    }
  }

  #named({ name, value }: Setting, account: MachineAccount | undefined): NamedFile {
    // The loader looks for a plugin without a slash where libraries are.
    if (name === 'plugin' && !value.includes('/')) return { state: 'present', readableByOthers: false };
    const look = this.#look(value, account);
    if (look.state !== 'present' || ['plugin', 'psk_file', 'crlfile'].includes(name)) return look;
    let source: Source;
    try {
      source = this.source(value, MAX_ACCOUNTS_LENGTH);
    } catch (error) {
      if (error instanceof AdvisorError && error.code === 'unreadable') return { ...look, state: 'unreadable' };
      throw error;
    }
    if (name === 'acl_file') return { ...look, accessList: parseAccessList(source) };
    if (name === 'password_file') return { ...look, passwords: parsePasswordFile(source) };
    return name === 'keyfile' ? look : { ...look, certificate: readCertificate(source.text) };
  }

  #textOrNothing(name: string): string {
    try {
      return this.source(name, MAX_CONFIGURATION_LENGTH).text;
    } catch {
      // Whether it can be read is a finding of its own.
      return '';
    }
  }
}
