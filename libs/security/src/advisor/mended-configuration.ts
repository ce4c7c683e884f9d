import path from 'node:path';
import { AdvisorError } from './advisor-error.ts';
import { advise } from './advice.ts';
import { settingOf, valueOf, type Bridge, type Configuration, type Listener, type Setting } from './configuration.ts';
import { listenerRules } from './listener-rules.ts';
import { mendAccessList, MUSTER_ACCOUNT, newAccessList } from './mended-access.ts';
import { isTrue } from './options.ts';
import { hashPlainPasswords } from './password-file.ts';
import {
  accessScopes,
  isEncrypted,
  isLocal,
  isPlainBridge,
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
  /** The text of the password file that a setting names. */
  readonly readPasswords: (setting: Setting) => string;
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
/** Options that are written anew wherever they stand. */
const REPLACED = new Set([
  ...['per_listener_settings', 'include_dir', 'message_size_limit', 'retry_interval', 'port', 'bind_address'],
  ...['allow_anonymous', 'allow_zero_length_clientid', 'password_file', 'acl_file'],
]);

/** Options of the whole broker with what they become where their value is none to keep. */
const GLOBALS: readonly (readonly [name: string, keeps: (value: string) => boolean, value: string])[] = [
  ['persistence', isTrue, 'true'],
  ['persistent_client_expiration', () => true, '14d'],
  // The default of 1,000 loses QoS 1 silently, and 0 drops everything since 2.0.16 (mqtt-pitfalls B1).
  ['max_queued_messages', (value) => Number(value) > 1_000, '1000000'],
  ['max_inflight_messages', (value) => Number(value) > 0, '1000'],
  ['max_keepalive', (value) => Number(value) < 65_535, '3600'],
  ['set_tcp_nodelay', isTrue, 'true'],
  ['connection_messages', isTrue, 'true'],
  ['log_dest', (value) => value !== 'none', 'stderr'],
  ['log_type', (value) => value !== 'none', 'all'],
];

/** Above the payload a packet holds its topic of up to 65,535 bytes and some more of header. */
const PACKET_OVERHEAD = 66_000;

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
      ({ rule, points }) => rule !== 'client-id-is-free' && points > 0,
    );
    this.#badTls = new Set(findings.map(({ file, line }) => `${file}:${line}`));
  }

  configuration(): string {
    const { file, perListener, bridges } = this.#configuration;
    const [shared] = accessScopes(this.#configuration);
    const lines = [
      `# Made from ${printable(file)} by: muster secure advise --write`,
      ...(perListener ? ['per_listener_settings true'] : []),
      ...this.#globals(),
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
    return `${name} ${isPath ? this.#plan.resolve(value) : value}`;
  }

  #globals(): readonly string[] {
    const { settings } = this.#configuration;
    const kept = settings
      .filter(({ name, value }) => {
        if (REPLACED.has(name) || isAccessOption(name) || (name === 'user' && value === 'root')) return false;
        return GLOBALS.find(([global]) => global === name)?.[1](value) ?? true;
      })
      .filter(({ name }) => !['max_packet_size', 'autosave_interval'].includes(name));
    const lastOnly = kept.filter(
      (setting) => ['log_dest', 'log_type'].includes(setting.name) || settingOf(kept, setting.name) === setting,
    );
    const missing = GLOBALS.filter(([name]) => name !== 'log_type' && settingOf(kept, name) === undefined);
    const limit = Number(valueOf(settings, 'message_size_limit') ?? 0);
    const packet = valueOf(settings, 'max_packet_size') ?? String(limit > 0 ? limit + PACKET_OVERHEAD : 2_097_152);
    const seconds = Number(valueOf(settings, 'autosave_interval') ?? 0);
    return [
      ...lastOnly.map((setting) => this.#line(setting)),
      ...missing.map(([name, , value]) => `${name} ${value}`),
      `max_packet_size ${packet}`,
      `autosave_interval ${seconds > 0 && seconds <= 300 ? seconds : 30}`,
      ...(settingOf(kept, 'persistence_location') === undefined
        ? [`persistence_location ${this.#path(DATA_FOLDER)}/`]
        : []),
    ];
  }

  /** The options of one scope of access, with its files. */
  #access(scope: AccessScope, suffix: string): readonly string[] {
    const { settings } = scope;
    const kept = settings.filter(({ name }) => isAccessOption(name));
    const hasPlugin = settingOf(settings, 'plugin') !== undefined;
    const isOtherwiseKnown =
      hasPlugin || settingOf(settings, 'psk_file') !== undefined || scope.listeners.every(knowsClientsByCertificate);
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

  /** Writes the password file; answers its accounts, or undefined where there is to be none. */
  #passwords(scope: AccessScope, name: string, isOtherwiseKnown: boolean): readonly string[] | undefined {
    const setting = settingOf(scope.settings, 'password_file');
    const entries = namedFile(this.#plan.subject, setting)?.passwords ?? [];
    const usable = entries.filter(({ scheme }) => scheme.kind !== 'damaged').map(({ username }) => username);
    if (setting !== undefined && usable.length > 0) {
      const damaged = new Set(entries.filter(({ scheme }) => scheme.kind === 'damaged').map(({ place }) => place.line));
      const lines = this.#plan
        .readPasswords(setting)
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
    const taken = new Set<string>();
    return listeners.flatMap((listener, index) => {
      const where = this.#whereTo(listener, hasOther);
      const head = `listener ${listener.port}${where === undefined || where === '' ? '' : ` ${where}`}`;
      if (where === undefined || taken.has(head)) return [];
      taken.add(head);
      const [scope] = perListener ? accessScopes(this.#configuration).slice(index, index + 1) : [];
      const isOpen = !isLocal({ ...listener, address: where === '' ? undefined : where });
      return [
        '',
        head,
        ...this.#listenerOptions(listener, isOpen),
        ...(scope === undefined ? [] : this.#access(scope, `-${listener.port}${index === 0 ? '' : `-${index}`}`)),
      ];
    });
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
        !REPLACED.has(setting.name) &&
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

/** Options of access that stay as they are, in their order. */
function isAccessOption(name: string): boolean {
  return ['plugin', 'psk_file', 'auto_id_prefix'].includes(name) || /_opt_|deny_special/.test(name);
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
