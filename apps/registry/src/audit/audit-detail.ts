import { createHash } from 'node:crypto';
import { storableText } from '@muster/contract';

/** In names in lower case, whose words stand apart by hyphens. */
const SECRETS = [
  /passw|pass-?phrase|pass-?code|psk|pwd|secret|token|credential|authori[sz]ation|cookie/,
  // As a word of its own: a compass, a mapping and an author are no secrets.
  /(?:^|-)(?:pass|pins?|puk|otp|jwt|bearer|auth)(?:-|$)/,
  // The public key and the primary key are none either.
  /(?:api|private|access|shared|network|encryption|signing|session|master|device|ssh|wifi|wpa|wep)-?key/,
];
const HIDDEN = '[hidden]';
const MAX_DEPTH = 12;
const MAX_CHARACTERS = 8_192;
const SHOWN_CHARACTERS = 2_000;
const MAX_NAME = 200;

/** Whether what has this name is hidden, however the name is written: `apiKey`, `API_KEY`, `x-api-key`. */
function isSecret(name: string): boolean {
  const words = name
    .replace(/(\p{Ll}|\d)(?=\p{Lu})|(\p{Lu})(?=\p{Lu}\p{Ll})/gu, '$&-')
    .replace(/[^\p{L}]+/gu, '-')
    .toLowerCase();
  return SECRETS.some((secret) => secret.test(words));
}

/**
 * A value of a request as it may be kept for ever: what is named like a secret is hidden, whatever it is; text that
 * cannot be stored is made storable; what is nested too deeply is left out.
 */
export function withoutSecrets(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return storableText(value, Number.POSITIVE_INFINITY);
  if (typeof value !== 'object' || value === null) return value;
  if (depth === MAX_DEPTH) return '[nested too deeply]';
  if (Array.isArray(value)) return value.map((item) => withoutSecrets(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      storableText(name, MAX_NAME),
      isSecret(name) ? HIDDEN : withoutSecrets(member, depth + 1),
    ]),
  );
}

/** What a request was made of, for the audit log; of a large body the beginning and its hash. */
export function requestDetail(request: {
  readonly body: unknown;
  readonly query: unknown;
  readonly from: string | undefined;
}): Record<string, unknown> {
  const query = withoutSecrets(request.query);
  return {
    ...(request.from === undefined ? {} : { from: request.from }),
    ...(typeof query === 'object' && query !== null && Object.keys(query).length > 0 ? { query: capped(query) } : {}),
    ...(request.body === undefined ? {} : { body: capped(withoutSecrets(request.body)) }),
  };
}

function capped(value: unknown): unknown {
  const text = JSON.stringify(value);
  if (text.length <= MAX_CHARACTERS) return JSON.parse(text) as unknown;
  const beginning = storableText(text, SHOWN_CHARACTERS);
  return { characters: text.length, sha256: createHash('sha256').update(text).digest('hex'), beginning };
}

/** What a request does, and to what. */
export interface OperationName {
  /** `PATCH /api/v1/devices/{id}` */
  readonly action: string;
  /** The value of the first parameter in its path. */
  readonly subject: string | null;
}

interface Template {
  readonly path: string;
  readonly methods: ReadonlySet<string>;
  readonly segments: readonly string[];
  readonly parameters: number;
}

const isParameter = (segment: string): boolean => segment.startsWith('{');

/** Names requests after the operations of an OpenAPI document, those of all services. */
export class OperationNames {
  readonly #templates: readonly Template[];

  constructor(paths: Readonly<Record<string, object>>) {
    this.#templates = Object.entries(paths)
      .map(([path, operations]) => {
        const segments = path.split('/');
        const methods = new Set(Object.keys(operations).map((method) => method.toUpperCase()));
        return { path, methods, segments, parameters: segments.filter(isParameter).length };
      })
      // `/alert-rules/apply` is not a rule of that name.
      .sort((one, other) => one.parameters - other.parameters);
  }

  /** The operation of a path, without its query; of one that there is not, method and path. */
  of(method: string, path: string): OperationName {
    const segments = path.replace(/\/+$/, '').split('/').map(decoded);
    const found = this.#templates.find(
      (template) =>
        template.methods.has(method) &&
        template.segments.length === segments.length &&
        // Paths are matched as the router does: upper case and lower case are the same.
        template.segments.every((part, index) => isParameter(part) || part === segments[index]?.toLowerCase()),
    );
    if (found === undefined)
      return { action: storableText(`${method} ${segments.join('/')}`, MAX_NAME), subject: null };
    const subject = segments[found.segments.findIndex(isParameter)];
    const isAbout = found.parameters > 0 && subject !== undefined;
    return { action: `${method} ${found.path}`, subject: isAbout ? storableText(subject, MAX_NAME) : null };
  }
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    // Not an encoding: it is shown as it came.
    return segment;
  }
}
