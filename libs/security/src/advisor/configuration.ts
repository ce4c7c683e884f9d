import { AdvisorError } from './advisor-error.ts';
import {
  canonicalName,
  expectedValue,
  isTrue,
  opensDefaultListener,
  optionDefinition,
  type OptionDefinition,
} from './options.ts';

/** A file and its text. */
export interface Source {
  readonly file: string;
  readonly text: string;
}

/** Where something stands; `line` counts from 1 and is null for what stands nowhere. */
export interface Place {
  readonly file: string;
  readonly line: number | null;
}

/** One option with its value. */
export interface Setting {
  /** Of two spellings of one option the newer (`plugin` for `auth_plugin`). */
  readonly name: string;
  readonly value: string;
  readonly place: Place;
}

/** One socket on which the broker listens. */
export interface Listener {
  /**
   * `named`: a listener line. `default`: port, bind_address, or an option of listeners above the first of them.
   * `implicit`: nothing of all that, so Mosquitto 2 listens on the loopback interface.
   */
  readonly kind: 'named' | 'default' | 'implicit';
  /** 0 for a Unix socket. */
  readonly port: number;
  /** The address or interface it is bound to, or the path of the Unix socket; undefined is every interface. */
  readonly address: string | undefined;
  /** Comments directly above and behind its line. */
  readonly comment: string;
  readonly place: Place;
  readonly settings: readonly Setting[];
}

/** A connection to another broker. */
export interface Bridge {
  readonly name: string;
  readonly place: Place;
  readonly settings: readonly Setting[];
}

/** Something about the form of the configuration. `refused`: Mosquitto 2.0 does not start with it. */
export interface Fault {
  readonly kind: 'unknown' | 'value' | 'repeated' | 'overruled' | 'orphan' | 'order' | 'late' | 'bridge' | 'include';
  readonly refused: boolean;
  readonly place: Place;
  /** A sentence that names no value of the line. */
  readonly text: string;
}

/** mosquitto.conf, understood as Mosquitto 2.0 does. */
export interface Configuration {
  readonly file: string;
  /** Of the whole broker; of access too unless `perListener`. */
  readonly settings: readonly Setting[];
  readonly perListener: boolean;
  readonly listeners: readonly Listener[];
  readonly bridges: readonly Bridge[];
  readonly faults: readonly Fault[];
  /**
   * No listener, port or bind_address line: Mosquitto 2 then lets anonymous clients in, even with `allow_anonymous false`
   * (seen with 2.0.11).
   */
  readonly localOnly: boolean;
}

/** The largest configuration that is read, in characters. */
export const MAX_CONFIGURATION_LENGTH = 1_000_000;

interface Line {
  readonly place: Place & { readonly line: number };
  readonly name: string;
  readonly value: string;
  readonly comment: string;
}

/**
 * Splits a text into lines without their ends.
 * @throws AdvisorError `too-large`, `not-text`
 */
export function textLines({ file, text }: Source, longest: number): readonly string[] {
  if (text.length > longest)
    throw new AdvisorError(
      'too-large',
      `${file} has ${text.length.toLocaleString('en')} characters and at most ${longest.toLocaleString('en')} are read; is it the right file?`,
    );
  const lines = text.split('\n').map((line) => line.replace(/\r+$/, ''));
  // Control characters other than the tab: no editor writes them, and Mosquitto ends a line at NUL.
  const binary = lines.findIndex((line) => /[\u0000-\u0008\u000b-\u001f\u007f]/.test(line));
  if (binary >= 0)
    throw new AdvisorError(
      'not-text',
      `${file}:${binary + 1} holds bytes that are no text; is it the right file?`,
      binary + 1,
    );
  return lines;
}

/** Mosquitto knows the space alone as a separator, and a comment only where # is the first character. */
function readLines(source: Source): readonly Line[] {
  const lines: Line[] = [];
  let comment: string[] = [];
  for (const [index, text] of textLines(source, MAX_CONFIGURATION_LENGTH).entries()) {
    if (text.startsWith('#')) comment.push(text.slice(1).trim());
    else if (/^ *$/.test(text)) comment = [];
    else {
      const [, name = '', value = ''] = /^ *([^ ]+)(.*)$/.exec(text) ?? [];
      const place = { file: source.file, line: index + 1 };
      lines.push({ place, name, value: value.trim(), comment: comment.join(' ') });
      comment = [];
    }
  }
  return lines;
}

/**
 * The folders that `include_dir` names in the main file, in order; those in included files are ignored by Mosquitto.
 * @throws AdvisorError `too-large`, `not-text`
 */
export function includedFolders(source: Source): readonly string[] {
  return readLines(source)
    .filter(({ name, value }) => name === 'include_dir' && value !== '')
    .map(({ value }) => value);
}

/** The last setting of that name, which is the one that counts. */
export function settingOf(settings: readonly Setting[], name: string): Setting | undefined {
  return settings.findLast((setting) => setting.name === name);
}

/** The last value of that name. */
export function valueOf(settings: readonly Setting[], name: string): string | undefined {
  return settingOf(settings, name)?.value;
}

type Draft<T extends { readonly settings: readonly Setting[] }> = Omit<T, 'settings'> & {
  readonly settings: Setting[];
};

/** Reads lines in Mosquitto's order and keeps what they apply to: the listener, bridge and plugin at hand. */
class Reader {
  readonly settings: Setting[] = [];
  readonly faults: Fault[] = [];
  readonly listeners: Draft<Listener>[] = [];
  readonly bridges: Draft<Bridge>[] = [];
  readonly #default: Setting[] = [];
  #opener: Line | undefined;
  #hasPlugin = false;
  perListener = false;
  localOnly = true;

  fault(kind: Fault['kind'], line: Line, refused: boolean, text: string): void {
    this.faults.push({ kind, refused, place: line.place, text });
  }

  /** The main file at level 0; Mosquitto forgets the listener and the bridge at hand between files. */
  read(source: Source, included: ReadonlyMap<string, readonly Source[]>, level: number): void {
    let listener: Draft<Listener> | undefined;
    let bridge: Draft<Bridge> | undefined;
    for (const line of readLines(source)) {
      if (line.name === 'listener') listener = this.#listener(line);
      else if (line.name === 'connection') bridge = this.#bridge(line);
      else if (line.name === 'include_dir' && level === 0) this.#include(line, included);
      else if (line.name === 'include_dir')
        this.fault('include', line, false, 'include_dir in an included file is ignored');
      else this.#option(line, listener, bridge);
    }
  }

  /** What port, bind_address and options above every listener have opened. */
  finish(file: string): readonly Draft<Listener>[] {
    const port = settingOf(this.#default, 'port');
    const opener = this.#opener;
    if (opener !== undefined) {
      this.listeners.push({
        kind: 'default',
        port: port === undefined ? 1883 : Number.parseInt(port.value, 10),
        address: valueOf(this.#default, 'bind_address') ?? valueOf(this.#default, 'bind_interface'),
        comment: opener.comment,
        place: port?.place ?? opener.place,
        settings: this.#default,
      });
    } else if (this.listeners.length === 0) {
      const settings = this.#default;
      this.listeners.push({
        ...{ kind: 'implicit', port: 1883, address: 'localhost', comment: '' },
        ...{ place: { file, line: null }, settings },
      });
    }
    return this.listeners;
  }

  #include(line: Line, included: ReadonlyMap<string, readonly Source[]>): void {
    const sources = included.get(line.value);
    if (sources === undefined) this.fault('include', line, true, 'the folder that include_dir names cannot be read');
    for (const source of sources ?? []) this.read(source, included, 1);
  }

  #listener(line: Line): Draft<Listener> | undefined {
    const [port = '', address] = line.value.split(/ +/);
    const number = Number(port);
    const isSocket = number === 0 && address !== undefined;
    if (!/^\d+$/.test(port) || number > 65_535 || (number === 0 && !isSocket)) {
      this.fault('value', line, true, 'listener expects a port from 1 to 65535, or 0 and the path of a Unix socket');
      return undefined;
    }
    this.localOnly = false;
    const bound = address?.startsWith('#') === true ? undefined : address;
    const behind = line.value.includes('#') ? ` ${line.value.slice(line.value.indexOf('#') + 1)}` : '';
    if (this.listeners.some((other) => other.port === number && number !== 0 && sameAddress(other.address, bound)))
      this.fault('repeated', line, true, 'two listeners on one port and address: the second cannot open its socket');
    const listener: Draft<Listener> = {
      ...{ kind: 'named', port: number, address: bound },
      ...{ comment: line.comment + behind, place: line.place, settings: [] },
    };
    this.listeners.push(listener);
    return listener;
  }

  #bridge(line: Line): Draft<Bridge> | undefined {
    const name = line.value.split(' ')[0] ?? '';
    if (name === '') {
      this.fault('value', line, true, 'connection expects a name');
      return undefined;
    }
    if (this.bridges.some((other) => other.name === name))
      this.fault('repeated', line, true, 'two bridges have one name');
    const bridge: Draft<Bridge> = { name, place: line.place, settings: [] };
    this.bridges.push(bridge);
    return bridge;
  }

  #option(line: Line, listener: Draft<Listener> | undefined, bridge: Draft<Bridge> | undefined): void {
    const definition = optionDefinition(line.name);
    if (definition === undefined) {
      this.fault('unknown', line, true, `${printable(line.name)} is no option of Mosquitto 2.0`);
      return;
    }
    const expected = expectedValue(line.name, definition, line.value);
    if (expected !== undefined) {
      this.fault('value', line, true, `${line.name} expects ${expected}`);
      return;
    }
    const holder = this.#holder(line, definition, listener, bridge);
    if (holder === undefined) return;
    const name = canonicalName(line.name);
    if (definition.repeated !== 'both' && holder.some((other) => other.name === name)) {
      const refused = definition.repeated === 'refused';
      const text = refused ? `${line.name} stands twice` : `${line.name} stands twice: this line overrules the first`;
      this.fault(refused ? 'repeated' : 'overruled', line, refused, text);
    }
    const value = definition.kind === 'text' ? line.value : (line.value.split(' ')[0] ?? '');
    holder.push({ name, value, place: line.place });
    if (name === 'per_listener_settings') this.#setPerListener(line);
    if (name === 'plugin') this.#hasPlugin = true;
  }

  #setPerListener(line: Line): void {
    const security = this.settings.some(({ name }) => optionDefinition(name)?.scope === 'security');
    if (security) this.fault('order', line, true, 'per_listener_settings must stand above every option of access');
    else if (this.listeners.length > 0)
      this.fault('late', line, false, 'per_listener_settings stands below a listener');
    this.perListener = isTrue(line.value);
  }

  /** The settings that a line belongs to; undefined where Mosquitto refuses it there. */
  #holder(
    line: Line,
    definition: OptionDefinition,
    listener: Draft<Listener> | undefined,
    bridge: Draft<Bridge> | undefined,
  ): Setting[] | undefined {
    const { name } = line;
    switch (definition.scope) {
      case 'global':
        return this.settings;
      case 'bridge':
        if (bridge === undefined) this.fault('bridge', line, true, `${name} needs a connection line above it`);
        return bridge?.settings;
      case 'plugin':
        if (!this.#hasPlugin) {
          this.fault('bridge', line, true, `${printable(name)} needs a plugin line above it`);
          return undefined;
        }
        return this.perListener && listener !== undefined ? listener.settings : this.settings;
      case 'security':
        if (!this.perListener) return this.settings;
        return listener?.settings ?? this.#openDefault(line);
      case 'listener':
        // These two are of the default listener wherever they stand.
        if (name === 'port' || name === 'bind_address') {
          this.localOnly = false;
          return this.#openDefault(line);
        }
        if (listener === undefined && name === 'mount_point') {
          this.fault('orphan', line, true, 'mount_point needs a listener line above it');
          return undefined;
        }
        return listener?.settings ?? this.#openDefault(line);
    }
  }

  #openDefault(line: Line): Setting[] {
    if (opensDefaultListener(line.name, line.value, this.perListener)) {
      const isOwn = line.name === 'port' || line.name === 'bind_address';
      this.#opener ??= line;
      if (!isOwn)
        this.fault(
          'orphan',
          line,
          false,
          `${line.name} stands above every listener of this file, so it is of the default listener`,
        );
    }
    return this.#default;
  }
}

/** Whether two addresses of one port cannot both be listened on; undefined is every address. */
export function sameAddress(left: string | undefined, right: string | undefined): boolean {
  return left === undefined || right === undefined || left === right;
}

/** A word may be a password that landed in the wrong file: only what looks like an option is ever repeated. */
function printable(name: string): string {
  return /^[a-z][a-z_]{2,40}$/.test(name) ? name : 'this line';
}

/**
 * Reads mosquitto.conf as Mosquitto 2.0 does. What Mosquitto refuses, or takes otherwise than it looks, is in `faults`.
 * @param included the files of each folder of {@link includedFolders}, in the order of loading; a folder that is left
 * out cannot be read
 * @throws AdvisorError `too-large`, `not-text`
 */
export function parseConfiguration(
  source: Source,
  included: ReadonlyMap<string, readonly Source[]> = new Map(),
): Configuration {
  const reader = new Reader();
  reader.read(source, included, 0);
  return {
    file: source.file,
    listeners: reader.finish(source.file),
    settings: reader.settings,
    perListener: reader.perListener,
    bridges: reader.bridges,
    faults: reader.faults,
    localOnly: reader.localOnly,
  };
}
