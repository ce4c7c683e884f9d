import type { AccessList, Grant } from './access-list.ts';
import type { CertificateFile } from './certificate.ts';
import {
  settingOf,
  valueOf,
  type Bridge,
  type Configuration,
  type Listener,
  type Place,
  type Setting,
} from './configuration.ts';
import { isTrue } from './options.ts';
import type { PasswordEntry } from './password-file.ts';

/** A file or folder that the configuration names, as far as it can be seen from here. */
export interface NamedFile {
  /** `missing` is known; `unreadable` may still be readable for the broker. */
  readonly state: 'present' | 'missing' | 'unreadable';
  /** Whether every account of the machine may read it. */
  readonly readableByOthers: boolean;
  /** Whether root alone may read it; the broker gives up root before it reads anything, unless it is told to stay. */
  readonly readableByRootAlone?: boolean;
  readonly accessList?: AccessList;
  readonly passwords?: readonly PasswordEntry[];
  readonly certificate?: CertificateFile;
}

/** What lies outside of the configuration, as plain values. */
export interface Evidence {
  /** By the path as the configuration spells it; the files of the configuration itself, too. */
  readonly files: ReadonlyMap<string, NamedFile>;
  /** Of each pair of `certfile` and `keyfile` (joined by a newline) whether they belong together, where that can be told. */
  readonly keyFits: ReadonlyMap<string, boolean>;
  readonly now: Date;
}

/** What the rules judge. */
export interface Subject {
  readonly configuration: Configuration;
  readonly evidence: Evidence;
}

/** Listeners that share their accounts: all of them, or each one with `per_listener_settings true`. */
export interface AccessScope {
  readonly place: Place;
  readonly settings: readonly Setting[];
  readonly listeners: readonly Listener[];
}

/** The scopes of access of a configuration. */
export function accessScopes({ file, settings, listeners, perListener }: Configuration): readonly AccessScope[] {
  if (!perListener) return [{ place: { file, line: null }, settings, listeners }];
  return listeners.map((listener) => ({ place: listener.place, settings: listener.settings, listeners: [listener] }));
}

/** Whether only programs on the same machine reach a listener. */
export function isLocal({ port, address, kind }: Listener): boolean {
  if (port === 0 || kind === 'implicit') return true;
  return address === 'localhost' || address === '::1' || address === 'lo' || /^127\.\d+\.\d+\.\d+$/.test(address ?? '');
}

/** Whether a listener speaks MQTT in WebSockets. */
export function isWebSocket({ settings }: Listener): boolean {
  return valueOf(settings, 'protocol') === 'websockets';
}

/** Whether Mosquitto encrypts a listener: it needs both certfile and keyfile, or PSK, and is silent where one is missing. */
export function isEncrypted({ settings }: Listener): boolean {
  const has = (name: string): boolean => settingOf(settings, name) !== undefined;
  return (has('certfile') && has('keyfile')) || has('psk_hint');
}

/** Whether a listener takes the account from a client certificate, or a pre-shared key. */
export function knowsClientsByCertificate(listener: Listener): boolean {
  const is = (name: string): boolean => isTrue(valueOf(listener.settings, name));
  const isNamed = is('use_identity_as_username') || is('use_subject_as_username');
  return (
    isEncrypted(listener) &&
    isNamed &&
    (is('require_certificate') || settingOf(listener.settings, 'psk_hint') !== undefined)
  );
}

/** Whether a scope lets clients in without an account, and the line that says so; without a listener Mosquitto 2 does. */
export function anonymousAccess(
  { configuration }: Subject,
  scope: AccessScope,
): { readonly allowed: boolean; readonly setting: Setting | undefined } {
  const setting = settingOf(scope.settings, 'allow_anonymous');
  return { allowed: configuration.localOnly || isTrue(setting?.value), setting };
}

/** The settings of access with one of these names, of every scope. */
export function accessSettings({ configuration }: Subject, names: readonly string[]): readonly Setting[] {
  return accessScopes(configuration)
    .flatMap((scope) => scope.settings)
    .filter(({ name }) => names.includes(name));
}

/** What is known of the file that a setting names. */
export function namedFile({ evidence }: Subject, setting: Setting | undefined): NamedFile | undefined {
  return setting === undefined ? undefined : evidence.files.get(setting.value);
}

/** The grants of a scope's ACL file. */
export function grantsOf(subject: Subject, scope: AccessScope): readonly Grant[] {
  return namedFile(subject, settingOf(scope.settings, 'acl_file'))?.accessList?.grants ?? [];
}

/** A bridge that speaks to another machine without TLS. */
export function isPlainBridge({ settings }: Bridge): boolean {
  const isTls = ['bridge_cafile', 'bridge_capath', 'bridge_psk'].some(
    (name) => settingOf(settings, name) !== undefined,
  );
  const addresses = (valueOf(settings, 'address') ?? '').split(/ +/);
  return !isTls && !addresses.every((address) => /^(?:localhost|127\.\d+\.\d+\.\d+)(?::\d+)?$/.test(address));
}
