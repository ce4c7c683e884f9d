import type { Place, Source } from './configuration.ts';
import { textLines } from './configuration.ts';

/** What an account may do on the topics of a filter. */
export type Access = 'read' | 'write' | 'readwrite' | 'deny';

/** One grant of an ACL file. */
export interface Grant {
  /** `everybody`: a pattern line. `anonymous`: a topic line above the first user line. */
  readonly to:
    | { readonly kind: 'everybody' }
    | { readonly kind: 'anonymous' }
    | { readonly kind: 'account'; readonly username: string };
  readonly access: Access;
  readonly filter: string;
  readonly place: Place;
}

/** An ACL file, read. */
export interface AccessList {
  readonly grants: readonly Grant[];
  /** Lines for which Mosquitto refuses the whole file. */
  readonly refused: readonly Place[];
}

/** The largest ACL or password file that is read, in characters: some 500,000 accounts. */
export const MAX_ACCOUNTS_LENGTH = 64_000_000;

const ACCESS: readonly string[] = ['read', 'write', 'readwrite', 'deny'];

/** Whether a text is an MQTT topic filter: + and # take a whole level, # the last one. */
function isFilter(text: string): boolean {
  const levels = text.split('/');
  return levels.every((level, index) => {
    if (level === '#') return index === levels.length - 1;
    return level === '+' || !/[+#]/.test(level);
  });
}

/**
 * Reads an ACL file as Mosquitto 2.0 does (mosquitto.conf(5), acl_file).
 * @throws AdvisorError `too-large`, `not-text`
 */
export function parseAccessList(source: Source): AccessList {
  const grants: Grant[] = [];
  const refused: Place[] = [];
  let to: Grant['to'] = { kind: 'anonymous' };
  for (const [index, text] of textLines(source, MAX_ACCOUNTS_LENGTH).entries()) {
    if (text.startsWith('#') || /^ *$/.test(text)) continue;
    const place = { file: source.file, line: index + 1 };
    const [, word = '', rest = ''] = /^ *([^ ]+) *(.*)$/.exec(text) ?? [];
    const value = rest.trim();
    if (value === '' || !['user', 'topic', 'pattern'].includes(word)) {
      refused.push(place);
      continue;
    }
    if (word === 'user') {
      to = { kind: 'account', username: value };
      continue;
    }
    const [, first = '', filter = ''] = /^([^ ]+) *(.*)$/.exec(value) ?? [];
    const access = ACCESS.find((name): name is Access => name === first && filter !== '');
    const topic = access === undefined ? value : filter;
    if ((access === undefined && filter !== '') || !isFilter(topic)) refused.push(place);
    else
      grants.push({
        to: word === 'pattern' ? { kind: 'everybody' } : to,
        access: access ?? 'readwrite',
        filter: topic,
        place,
      });
  }
  return { grants, refused };
}

/** Whether an account is one of Muster's services: their names are `muster` and `muster-…`. */
export function isServiceAccount(username: string): boolean {
  return username === 'muster' || username.startsWith('muster-');
}

/** Whether a filter reaches over topics of everybody: its first level is a wildcard. */
export function isWholesale(filter: string): boolean {
  const first = filter.split('/')[0];
  return first === '#' || first === '+';
}

/** Whether a filter is bound to the client by its account or its client id. */
export function isBoundToClient(filter: string): boolean {
  return /%[uc]/.test(filter);
}

/** Whether a filter reaches into Muster's own topics, by name. */
export function reachesMuster(filter: string): boolean {
  return filter.split('/')[0] === 'muster';
}
