import path from 'node:path';
import { AdvisorError } from './advisor-error.ts';
import { advise } from './advice.ts';
import {
  sameAddress,
  settingOf,
  valueOf,
  type Bridge,
  type Configuration,
  type Listener,
  type Setting,
} from './configuration.ts';
import { listenerRules } from './listener-rules.ts';
import { isAccessOption, isReplaced, mendGlobals } from './mended-globals.ts';
import { mendAccessList, MUSTER_ACCOUNT, newAccessList } from './mended-access.ts';
import { isTrue, optionDefinition } from './options.ts';
import { hashPlainPasswords } from './password-file.ts';
import {
  accessScopes,
  isEncrypted,
  isLocal,
  isPlainBridge,
  isWebSocket,
  knowsClientsByCertificate,
  namedFile,
  type AccessScope,
  type Subject,
} from './subject.ts';

/** A certificate for the broker, as PEM texts. */
export interface ServerCertificate {
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
}

/** What a mended configuration is made from. */
export interface MendingPlan {
  readonly subject: Subject;
  /** The absolute path of the folder that it is for. */
  readonly folder: string;
  /** Undefined: those that the configuration names must be good. */
  readonly certificate: ServerCertificate | undefined;
  /** The text of the file that a setting names. */
  readonly readText: (setting: Setting) => string;
  /** The absolute path for one that counts from the folder of the old configuration. */
  readonly resolve: (file: string) => string;
  /** The line of the account that is written where there is none. */
  readonly accountLine: string;
}

/** A file to write. */
export interface MendedFile {
  /** Path in the folder. */
  readonly name: string;
  readonly text: string;
}

/** A configuration that keeps what the operator meant, without what was found. */
export interface MendedConfiguration {
  readonly files: readonly MendedFile[];
  /** What is not as it was, in sentences for the operator. */
  readonly notes: readonly string[];
  /** Whether the account of `accountLine` is in it. */
  readonly hasNewAccount: boolean;
}

/** The main file in the folder. */
export const MENDED_FILE = 'mosquitto.conf';
/** The folder of the broker's own database. */
export const DATA_FOLDER = 'data';

const TLS_FILES = ['cafile', 'certfile', 'keyfile', 'crlfile'];
const PATHS = new Set([
  ...[...TLS_FILES, 'capath', 'psk_file', 'persistence_location', 'pid_file', 'dhparamfile', 'http_dir'],
  ...['bridge_cafile', 'bridge_capath', 'bridge_certfile', 'bridge_keyfile'],
]);
class Mending {
  readonly files: MendedFile[] = [];
  readonly notes: string[] = [];
  hasNewAccount = false;
  readonly #plan: MendingPlan;
  readonly #configuration: Configuration;
  readonly #badTls: ReadonlySet<string>;

  constructor(plan: MendingPlan) {
    this.#plan = plan;
    this.#configuration = plan.subject.configuration;
    const findings = advise(plan.subject, listenerRules).findings.filter(
      ({ rule, severity }) => rule !== 'client-id-is-free' && severity !== 'advice',
    );
    this.#badTls = new Set(findings.map(({ file, line }) => `${file}:${line}`));
  }

  configuration(): string {
    const { file, perListener, bridges } = this.#configuration;
    const [shared] = accessScopes(this.#configuration);
    const lines = [
      `# Made from ${printable(file)} by: muster secure advise --write`,
      ...(perListener ? ['per_listener_settings true'] : []),
      ...mendGlobals(this.#configuration.settings, `${this.#path(DATA_FOLDER)}/`, (setting) => this.#line(setting)),
      ...(perListener || shared === undefined ? [] : this.#access(shared, '')),
      ...this.#listeners(),
      ...bridges.flatMap((bridge) => this.#bridge(bridge)),
    ];
    return `${lines.join('\n')}\n`;
  }

  #path(name: string): string {
    return path.join(this.#plan.folder, name);
  }

  /** A setting as it was; paths lead where they led from the old folder. A plugin without a slash is found by the loader. */
  #line({ name, value }: Setting): string {
    const isPath = PATHS.has(name) || (name === 'plugin' && value.includes('/'));
    return `${name} ${isPath && !path.isAbsolute(value) ? this.#plan.resolve(value) : value}`;
  }

  /** The options of one scope of access, with its files. */
  #access(scope: AccessScope, suffix: string): readonly string[] {
    const { settings } = scope;
    const kept = this.#keptAccess(settings, `psk${suffix}`);
    const hasPlugin = settingOf(kept, 'plugin') !== undefined;
    const isOtherwiseKnown =
      hasPlugin ||
      settingOf(kept, 'psk_file') !== undefined ||
      (scope.listeners.every(knowsClientsByCertificate) && !scope.listeners.every(isWebSocket));
    const usernames = this.#passwords(scope, `passwords${suffix}`, isOtherwiseKnown);
    const hasAcl = this.#accessList(scope, `acl${suffix}`, usernames ?? [], hasPlugin);
    return [
      'allow_anonymous false',
      'allow_zero_length_clientid false',
      ...kept.map((setting) => this.#line(setting)),
      ...(usernames === undefined ? [] : [`password_file ${this.#path(`passwords${suffix}`)}`]),
      ...(hasAcl ? [`acl_file ${this.#path(`acl${suffix}`)}`] : []),
    ];
  }

  /** Options of access that stay: plugins that are there with their options, and the file of pre-shared keys, copied. */
  #keptAccess(settings: readonly Setting[], pskName: string): readonly Setting[] {
    // Options of a plugin that is not there, or that stands in another scope, mean nothing and would be refused.
    let hasPlugin = false;
    return settings
      .filter(({ name }) => isAccessOption(name))
      .filter(
        (setting) =>
          !['psk_file', 'auto_id_prefix'].includes(setting.name) || settingOf(settings, setting.name) === setting,
      )
      .flatMap((setting) => {
        const isThere = namedFile(this.#plan.subject, setting)?.state === 'present';
        if (setting.name === 'plugin') {
          hasPlugin = isThere;
          if (!isThere) this.notes.push('a plugin whose file does not exist is left out, with its options');
        }
        const isOfPlugin = setting.name === 'plugin' || optionDefinition(setting.name)?.scope === 'plugin';
        if (setting.name !== 'psk_file') return isOfPlugin && !hasPlugin ? [] : [setting];
        if (!isThere) {
          this.notes.push('psk_file is left out, because the file is not there or cannot be read');
          return [];
        }
        this.files.push({ name: pskName, text: this.#plan.readText(setting) });
        return [{ ...setting, value: this.#path(pskName) }];
      });
  }

  /** Writes the password file; answers its accounts, or undefined where there is to be none. */
  #passwords(scope: AccessScope, name: string, isOtherwiseKnown: boolean): readonly string[] | undefined {
    const setting = settingOf(scope.settings, 'password_file');
    const entries = namedFile(this.#plan.subject, setting)?.passwords ?? [];
    const usable = entries.filter(({ scheme }) => scheme.kind !== 'damaged').map(({ username }) => username);
    if (setting !== undefined && usable.length > 0) {
      const damaged = new Set(entries.filter(({ scheme }) => scheme.kind === 'damaged').map(({ place }) => place.line));
      const lines = this.#plan
        .readText(setting)
        .split('\n')
        .filter((_, index) => !damaged.has(index + 1));
      this.files.push({ name, text: hashPlainPasswords({ file: setting.value, text: lines.join('\n') }) });
      if (damaged.size > 0)
        this.notes.push(`${damaged.size} accounts with a damaged hash are left out: Mosquitto took none of them`);
      return [...new Set(usable)];
    }
    if (isOtherwiseKnown && setting === undefined) return undefined;
    this.files.push({ name, text: `${this.#plan.accountLine}\n` });
    this.hasNewAccount = true;
    this.notes.push(`there was no account that Mosquitto takes, so there is a new one: ${MUSTER_ACCOUNT}`);
    return [MUSTER_ACCOUNT];
  }

  #accessList(scope: AccessScope, name: string, usernames: readonly string[], hasPlugin: boolean): boolean {
    const setting = settingOf(scope.settings, 'acl_file');
    if (setting === undefined && hasPlugin) return false;
    const list = namedFile(this.#plan.subject, setting)?.accessList;
    if (list === undefined || list.grants.length === 0) {
      const { text, notes } = newAccessList(usernames);
      this.files.push({ name, text });
      this.notes.push(...notes);
      return true;
    }
    const { text, notes } = mendAccessList(list.grants, usernames);
    const isNew = this.hasNewAccount && usernames.includes(MUSTER_ACCOUNT);
    this.files.push({ name, text: isNew ? `${newAccessList([]).text}${text}` : text });
    this.notes.push(...notes);
    if (list.refused.length > 0)
      this.notes.push(`${list.refused.length} lines of the ACL that Mosquitto refuses are left out`);
    return true;
  }

  #listeners(): readonly string[] {
    const { listeners, perListener } = this.#configuration;
    const hasOther = listeners.some(({ kind }) => kind === 'named');
    const kept: Listener[] = [];
    const lines = listeners.flatMap((listener, index) => {
      const where = this.#whereTo(listener, hasOther);
      if (where === undefined) return [];
      const moved = { ...listener, address: where === '' ? undefined : where };
      const isTaken = ({ port, address }: Listener): boolean =>
        port === moved.port && (port === 0 ? address === moved.address : sameAddress(address, moved.address));
      if (kept.some(isTaken)) {
        this.notes.push(`the second of two listeners on port ${listener.port} is left out`);
        return [];
      }
      kept.push(moved);
      const [scope] = perListener ? accessScopes(this.#configuration).slice(index, index + 1) : [];
      return [
        '',
        `listener ${listener.port}${where === '' ? '' : ` ${where}`}`,
        ...this.#listenerOptions(listener, !isLocal(moved)),
        ...(scope === undefined ? [] : this.#access(scope, `-${listener.port}${index === 0 ? '' : `-${index}`}`)),
      ];
    });
    return [...lines, ...this.#companion(kept)];
  }

  /** Mosquitto 2.0.11 does not start with WebSocket listeners alone. */
  #companion(kept: readonly Listener[]): readonly string[] {
    if (!kept.every(isWebSocket)) return [];
    const taken = new Set(kept.map((listener) => listener.port));
    let port = 1883;
    while (taken.has(port)) port += 1;
    this.notes.push(
      `Mosquitto 2.0 does not start with WebSocket listeners alone, so there is listener ${port} 127.0.0.1`,
    );
    const [scope] = this.#configuration.perListener ? accessScopes(this.#configuration) : [];
    return ['', `listener ${port} 127.0.0.1`, ...(scope === undefined ? [] : this.#access(scope, '-local'))];
  }

  /** The address of a listener, `''` for every interface; undefined where it is left out. */
  #whereTo(listener: Listener, hasOther: boolean): string | undefined {
    const { kind, port, settings, comment } = listener;
    if (kind === 'implicit') return '127.0.0.1';
    const address = kind === 'default' ? valueOf(settings, 'bind_address') : listener.address;
    if (isLocal(listener) || isEncrypted(listener)) return address ?? '';
    if (kind === 'default' && settingOf(settings, 'port') === undefined && hasOther) {
      this.notes.push(`the listener on port ${port} that a misplaced option opened is left out`);
      return undefined;
    }
    if (!this.#configuration.listeners.some((other) => isEncrypted(other) && !isLocal(other))) {
      this.notes.push(`listener ${port} speaks TLS now, on the same port`);
      return address ?? '';
    }
    if (/\b(?:disabled?|off|unused|inactive|closed)\b/i.test(comment)) {
      this.notes.push(`listener ${port}, which its comment calls disabled, is left out`);
      return undefined;
    }
    this.notes.push(`listener ${port} without TLS is for this machine alone now`);
    return '127.0.0.1';
  }

  #listenerOptions({ settings, port }: Listener, isOpen: boolean): readonly string[] {
    const limits = settings.filter(({ name, value }) => name === 'max_connections' && Number(value) >= 0).slice(-1);
    const isEncryptedWithPsk = settingOf(settings, 'psk_hint') !== undefined;
    const others = settings.filter(
      (setting) =>
        settingOf(settings, setting.name) === setting &&
        !isReplaced(setting.name) &&
        !isAccessOption(setting.name) &&
        ![...TLS_FILES, 'max_connections', 'tls_version'].includes(setting.name),
    );
    const version = valueOf(settings, 'tls_version') === 'tlsv1.3' ? 'tlsv1.3' : 'tlsv1.2';
    const isTls = isOpen || settings.some(({ name }) => name === 'certfile');
    return [
      ...others.filter(({ name }) => isTls || name !== 'require_certificate').map((setting) => this.#line(setting)),
      ...limits.map(({ value }) => `max_connections ${value}`),
      ...(isOpen && limits.length === 0 ? ['max_connections 1000'] : []),
      ...(isTls && !isEncryptedWithPsk ? [`tls_version ${version}`, ...this.#certificate(settings, port)] : []),
    ];
  }

  /** @throws AdvisorError `certificate-missing` */
  #certificate(settings: readonly Setting[], port: number): readonly string[] {
    const own = settings.filter(({ name }) => TLS_FILES.includes(name));
    const isGood = (setting: Setting): boolean =>
      !this.#badTls.has(`${setting.place.file}:${setting.place.line}`) &&
      namedFile(this.#plan.subject, setting)?.state === 'present';
    const hasPair = settingOf(own, 'certfile') !== undefined && settingOf(own, 'keyfile') !== undefined;
    if (hasPair && own.every(isGood)) return own.map((setting) => this.#line(setting));
    const { certificate } = this.#plan;
    if (certificate === undefined)
      throw new AdvisorError(
        'certificate-missing',
        `listener ${port} has no certificate that can be used: give one with --ca, --certificate and --key`,
      );
    for (const [name, text] of [
      ['ca.crt', certificate.ca],
      ['server.crt', certificate.certificate],
      ['server.key', certificate.key],
    ] as const)
      if (!this.files.some((file) => file.name === name)) this.files.push({ name, text });
    // The authority of clients is another matter than that of the broker.
    const clients = own.filter(
      (setting) =>
        ['cafile', 'crlfile'].includes(setting.name) &&
        isTrue(valueOf(settings, 'require_certificate')) &&
        isGood(setting),
    );
    return [
      ...(settingOf(clients, 'cafile') === undefined ? [`cafile ${this.#path('ca.crt')}`] : []),
      ...clients.map((setting) => this.#line(setting)),
      `certfile ${this.#path('server.crt')}`,
      `keyfile ${this.#path('server.key')}`,
    ];
  }

  #bridge(bridge: Bridge): readonly string[] {
    const { name, settings } = bridge;
    if (isPlainBridge(bridge) || ['address', 'topic'].some((option) => settingOf(settings, option) === undefined)) {
      const why = isPlainBridge(bridge) ? 'it has no TLS: add bridge_cafile' : 'it lacks an address or a topic';
      this.notes.push(`the bridge ${name} is left out because ${why}, and put it back`);
      return [];
    }
    const kept = settings.filter(
      (setting) =>
        !['bridge_insecure', 'bridge_tls_version'].includes(setting.name) &&
        (setting.name === 'topic' || settingOf(settings, setting.name) === setting),
    );
    const isTls = ['bridge_cafile', 'bridge_capath'].some((option) => settingOf(settings, option) !== undefined);
    return [
      '',
      `connection ${name}`,
      ...kept.map((one) => this.#line(one)),
      ...(isTls ? ['bridge_tls_version tlsv1.2'] : []),
    ];
  }
}

function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '\uFFFD');
}

/**
 * The configuration that its operator meant, without what the advisor found: ports, limits, log, plugins and accounts
 * stay, includes become one file. What cannot stay as it was is in the notes.
 * @throws AdvisorError `certificate-missing`
 */
export function mendConfiguration(plan: MendingPlan): MendedConfiguration {
  const mending = new Mending(plan);
  const text = mending.configuration();
  return {
    files: [{ name: MENDED_FILE, text }, ...mending.files],
    notes: mending.notes,
    hasNewAccount: mending.hasNewAccount,
  };
}
