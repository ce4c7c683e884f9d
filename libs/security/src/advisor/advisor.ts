import { randomBytes } from 'node:crypto';
import { chownSync, existsSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { MAX_ACCOUNTS_LENGTH } from './access-list.ts';
import { advise, type Advice } from './advice.ts';
import { AdvisorError } from './advisor-error.ts';
import { keyFits } from './certificate.ts';
import type { Configuration } from './configuration.ts';
import { MUSTER_ACCOUNT } from './mended-access.ts';
import { DATA_FOLDER, MENDED_FILE, mendConfiguration, type ServerCertificate } from './mended-configuration.ts';
import { passwordLine } from './password-file.ts';
import type { Subject } from './subject.ts';
import { brokerAccount, SystemFiles, type MachineAccount } from './system-files.ts';

/** How a mended configuration is to be written. */
export interface WritePlan {
  /** Is created where it does not exist. */
  readonly folder: string;
  /** For listeners whose own certificate cannot be used. */
  readonly certificate?: ServerCertificate;
  /** Whether files that are there may be replaced. */
  readonly replace?: boolean;
}

/** What was written. */
export interface WrittenConfiguration {
  /** The path of the new mosquitto.conf. */
  readonly file: string;
  /** All files, paths. */
  readonly files: readonly string[];
  readonly notes: readonly string[];
  /** The advice on the new configuration. */
  readonly advice: Advice;
  /** The account that was made because there was none; its password is known nowhere else. */
  readonly account: { readonly username: string; readonly password: string } | undefined;
}

const PASSWORD_BYTES = 24;
const OWNER_MAY_ENTER = 0o100;
const OTHERS_MAY_ENTER = 0o001;

/** Judges a configuration of Mosquitto on this machine, and writes a better one. */
export class Advisor {
  readonly #files: SystemFiles;
  readonly #subject: Subject;
  readonly #now: Date;

  /**
   * Reads the configuration and the files that it names.
   * @param file path of mosquitto.conf
   * @param now the time at which certificates are judged
   * @throws AdvisorError `unreadable`, `too-large`, `not-text`
   */
  constructor(file: string, now = new Date()) {
    this.#now = now;
    this.#files = new SystemFiles(file);
    const configuration = this.#files.configuration();
    this.#subject = { configuration, evidence: this.#files.evidence(configuration, now) };
  }

  /** Score and findings. */
  advice(): Advice {
    return advise(this.#subject);
  }

  /**
   * Writes a configuration that means the same and has none of what was found, with its password file, ACL and
   * certificate. As root the files become the broker's own, who could not read them otherwise.
   * @throws AdvisorError `file-exists`, `certificate-missing`, `certificate-unusable`, `not-writable`
   */
  write({ folder: given, certificate, replace = false }: WritePlan): WrittenConfiguration {
    const folder = path.resolve(given);
    if (/[\u0000-\u001f\u007f]| $/.test(folder))
      throw new AdvisorError(
        'not-writable',
        `a folder of that name cannot be written into mosquitto.conf; choose another`,
      );
    if (certificate !== undefined && keyFits(certificate.certificate, certificate.key) !== true)
      throw new AdvisorError(
        'certificate-unusable',
        'the certificate and the key are not readable, or do not belong together',
      );
    const configuration = withoutRoot(this.#subject.configuration);
    const password = randomBytes(PASSWORD_BYTES).toString('base64url');
    const { files, notes, hasNewAccount } = mendConfiguration({
      // What root could read is not enough: the new configuration does not keep `user root`.
      subject: { configuration: this.#subject.configuration, evidence: this.#files.evidence(configuration, this.#now) },
      ...{ folder, certificate, accountLine: passwordLine(MUSTER_ACCOUNT, password) },
      resolve: (name) => this.#files.resolve(name),
      readText: (setting) => this.#files.source(setting.value, MAX_ACCOUNTS_LENGTH).text,
    });
    const paths = files.map(({ name, text }) => ({ file: path.join(folder, name), text }));
    const present = paths.filter(({ file }) => existsSync(file)).map(({ file }) => file);
    if (present.length > 0 && !replace)
      throw new AdvisorError(
        'file-exists',
        `${present.join(', ')} would be overwritten; choose another folder or say --force`,
      );
    // Without root the files are those of whoever will start the broker.
    const owner = process.getuid?.() === 0 ? brokerAccount(configuration) : undefined;
    try {
      makeFolder(path.join(folder, DATA_FOLDER), owner);
      for (const { file, text } of paths) {
        // Under another name first: a broker that reloads meanwhile finds the old file or the new one, whole.
        const fresh = replace ? `${file}.new` : file;
        if (replace) rmSync(fresh, { force: true });
        writeFileSync(fresh, text, { mode: 0o600, flag: 'wx' });
        own(fresh, owner);
        if (replace) renameSync(fresh, file);
      }
    } catch (error) {
      throw new AdvisorError(
        'not-writable',
        `${folder} cannot be written: ${error instanceof Error ? error.message : String(error)}`,
        undefined,
        { cause: error },
      );
    }
    const file = path.join(folder, MENDED_FILE);
    return {
      ...{ file, files: paths.map((one) => one.file), notes: [...notes, ...closedFolders(folder, owner)] },
      advice: new Advisor(file, this.#now).advice(),
      account: hasNewAccount ? { username: MUSTER_ACCOUNT, password } : undefined,
    };
  }
}

function own(file: string, owner: MachineAccount | undefined): void {
  if (owner !== undefined) chownSync(file, owner.uid, owner.gid);
}

/** `user root` is not kept. */
function withoutRoot(configuration: Configuration): Configuration {
  const settings = configuration.settings.filter(({ name, value }) => name !== 'user' || value !== 'root');
  return { ...configuration, settings };
}

/** Says which folder on the way another account cannot enter, so that the broker would not find its files. */
function closedFolders(folder: string, owner: MachineAccount | undefined): readonly string[] {
  if (owner === undefined || owner.uid === 0) return [];
  for (let at = folder; ; at = path.dirname(at)) {
    const { mode, uid } = statSync(at);
    const mayEnter = uid === owner.uid ? OWNER_MAY_ENTER : OTHERS_MAY_ENTER;
    if ((mode & mayEnter) === 0)
      return [`the account of the broker cannot enter ${at}: choose another folder, or chmod o+x`];
    if (at === path.dirname(at)) return [];
  }
}

/** Every folder that had to be created on the way is the broker's, too: it must get through. */
function makeFolder(folder: string, owner: MachineAccount | undefined): void {
  const first = mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let created = folder; created.length >= first.length; created = path.dirname(created)) own(created, owner);
}
