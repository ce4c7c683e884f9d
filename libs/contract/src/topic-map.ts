import { z } from 'zod';
import { ContractError } from './contract-error.ts';
import { isDeviceId, type DeviceId } from './device-id.ts';
import {
  filterCovers,
  filtersOverlap,
  parsePattern,
  type Captures,
  type PatternLevel,
  type TopicPattern,
} from './topic-pattern.ts';
import { RecentlyUsed } from './recently-used.ts';
import { TopicTrie } from './topic-trie.ts';

/** What a topic is for; decides which service reads it. */
export const topicRoleSchema = z.enum(['status', 'lwt', 'info', 'config', 'telemetry', 'command', 'ack']);
/** See {@link topicRoleSchema}. */
export type TopicRole = z.infer<typeof topicRoleSchema>;

const METRIC = /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/;
/** Fields of their own in the telemetry measurement, or words that InfluxQL keeps for itself. */
const RESERVED_METRICS = new Set(['ts', 'up', 'seq', 'session', 'time', 'device']);

/** Whether a name can be a metric: it becomes a field key, so suffixes that mark other types are kept free. */
export function isMetricName(name: string): boolean {
  return METRIC.test(name) && !RESERVED_METRICS.has(name) && !/_(?:bool|text)$/.test(name);
}

const metricSchema = z
  .string()
  .refine(
    isMetricName,
    'expected a letter, then up to 63 of A-Z a-z 0-9 _ . -; not ts, up, seq, session, time, device, and not ending in _bool or _text',
  );
const unitSchema = z.string().max(16);
const patternSchema = z.string().transform((source, context): TopicPattern => {
  try {
    return parsePattern(source);
  } catch (error) {
    context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) });
    return z.NEVER;
  }
});
const base = {
  pattern: patternSchema,
  /** How the device id is put together from captures; `{room}-motion` for a device that is named after its room. */
  device: z.string().max(200).default('{device}'),
};
const fieldSchema = z.strictObject({ metric: metricSchema, unit: unitSchema.optional() });

const entrySchema = z.discriminatedUnion('role', [
  z.strictObject({ ...base, role: topicRoleSchema.exclude(['telemetry']) }),
  z.discriminatedUnion('decoder', [
    z.strictObject({
      ...base,
      role: z.literal('telemetry'),
      decoder: z.literal('json'),
      /** From a JSON path with dots to the metric it becomes; a field that is not named keeps its own name. */
      fields: z.record(z.string(), fieldSchema).default({}),
      others: z.enum(['keep', 'drop']).default('keep'),
    }),
    z.strictObject({
      ...base,
      role: z.literal('telemetry'),
      decoder: z.enum(['number', 'text', 'boolean']),
      metric: metricSchema,
      unit: unitSchema.optional(),
    }),
  ]),
]);

/** The shape of a topic map file, after YAML has been read. */
export const topicMapSchema = z.strictObject({ topics: z.array(entrySchema).min(1).max(1000) });

/** One line of a topic map. */
export type TopicMapEntry = z.infer<typeof entrySchema>;
/** One line of a topic map that carries readings. */
export type TelemetryEntry = Extract<TopicMapEntry, { role: 'telemetry' }>;

/** What a topic turned out to be. */
export interface TopicMatch {
  readonly entry: TopicMapEntry;
  readonly captures: Captures;
  /** The device's id, or the text that should have been one. */
  readonly device: { readonly valid: true; readonly id: DeviceId } | { readonly valid: false; readonly text: string };
}

/** The namespace of Muster's own topics: denied to devices, left out of discovery and ledger. */
export const MUSTER_NAMESPACE = 'muster/';

/** The topics of so many devices are found again at once, and at most twice as many are kept in memory. */
const REMEMBERED_TOPICS = 100_000;
/** A longer topic is not kept: whoever publishes chooses it. */
const MAX_REMEMBERED_LENGTH = 256;

/** A topic map that has been checked and compiled. */
export class TopicMap {
  readonly #trie = new TopicTrie<TopicMapEntry>();
  readonly #remembered: RecentlyUsed<TopicMatch>;

  private constructor(
    readonly entries: readonly TopicMapEntry[],
    rememberedTopics: number,
  ) {
    this.#remembered = new RecentlyUsed(rememberedTopics);
    for (const entry of entries) {
      checkTemplate(entry);
      if (entry.pattern.source.startsWith(MUSTER_NAMESPACE) || entry.pattern.source.startsWith('$')) {
        throw new ContractError('invalid-topic-map', `${entry.pattern.source}: muster/ and $ topics are not devices'`);
      }
      if (this.#trie.insert(entry.pattern, entry) !== undefined) {
        throw new ContractError('invalid-topic-map', `two entries for the same topics: ${entry.pattern.source}`);
      }
    }
  }

  /**
   * Checks and compiles a topic map.
   * @param rememberedTopics how many topics are found again without being taken apart
   * @throws ContractError `invalid-topic-map` with the path of the first fault
   */
  static from(value: unknown, rememberedTopics = REMEMBERED_TOPICS): TopicMap {
    const parsed = topicMapSchema.safeParse(value);
    if (!parsed.success) throw new ContractError('invalid-topic-map', z.prettifyError(parsed.error));
    return new TopicMap(parsed.data.topics, rememberedTopics);
  }

  /**
   * What a topic is, and whose; undefined for topics that the map does not name. The same topics come again and again:
   * those of valid devices are remembered.
   */
  match(topic: string): TopicMatch | undefined {
    const remembered = this.#remembered.get(topic);
    if (remembered !== undefined) return remembered;
    const match = this.#find(topic);
    if (match?.device.valid === true && topic.length <= MAX_REMEMBERED_LENGTH) this.#remembered.set(topic, match);
    return match;
  }

  #find(topic: string): TopicMatch | undefined {
    const found = this.#trie.match(topic);
    if (found === undefined) return undefined;
    const text = fillTemplate(found.entry.device, found.captures);
    return {
      entry: found.entry,
      captures: found.captures,
      device: isDeviceId(text) ? { valid: true, id: text } : { valid: false, text },
    };
  }

  /**
   * The MQTT filters to subscribe to for some roles: none covers another, because overlapping filters on one connection
   * are delivered twice (mqtt-pitfalls R4).
   * @throws ContractError `invalid-topic-map` when two filters overlap without one covering the other
   */
  filters(...roles: readonly TopicRole[]): readonly string[] {
    const all = [
      ...new Set(this.entries.filter((entry) => roles.includes(entry.role)).map((entry) => entry.pattern.filter)),
    ];
    const kept = all.filter((filter) => !all.some((other) => other !== filter && filterCovers(other, filter)));
    for (const [index, filter] of kept.entries()) {
      const clash = kept.slice(index + 1).find((other) => filtersOverlap(filter, other));
      if (clash !== undefined) {
        throw new ContractError(
          'invalid-topic-map',
          `${filter} and ${clash} overlap: a message on both would be delivered twice; make one of them more precise`,
        );
      }
    }
    return kept;
  }

  /**
   * The id in whose subtree a topic lies (`iotclass/{device}/#` for a pattern `iotclass/{device}/temperature`), whether or
   * not a pattern matches the whole topic; undefined where no subtree belongs to a device.
   */
  subtreeOwner(topic: string): string | undefined {
    const levels = topic.split('/');
    for (const { device, pattern } of this.entries) {
      const own = pattern.levels.findIndex((level) => level.kind === 'wildcard' && device === `{${level.name}}`);
      const isInSubtree =
        own >= 0 &&
        pattern.levels
          .slice(0, own)
          .every((level, index) =>
            level.kind === 'wildcard' ? levels[index] !== undefined : level.text === levels[index],
          );
      if (isInSubtree && levels[own] !== undefined) return levels[own];
    }
    return undefined;
  }

  /**
   * The filters under which a device may have retained messages. Where a level is the device's own id the whole
   * subtree below it is the device's; a topic that is only named after the device is taken exactly.
   */
  deviceFilters(id: DeviceId): readonly string[] {
    const filters = this.entries.flatMap((entry) => {
      const captures = readTemplate(entry.device, id);
      if (captures === undefined) return [];
      const own = entry.pattern.levels.findIndex((level) => level.kind === 'wildcard' && captures[level.name] === id);
      const levels = own < 0 ? entry.pattern.levels : entry.pattern.levels.slice(0, own + 1);
      const text = levels
        .map((level) => (level.kind === 'literal' ? level.text : (captures[level.name] ?? '+')))
        .join('/');
      return [own < 0 ? text : `${text}/#`];
    });
    const unique = [...new Set(filters)];
    return unique.filter((filter) => !unique.some((other) => other !== filter && filterCovers(other, filter)));
  }
}

function wildcards(levels: readonly PatternLevel[]): readonly string[] {
  return levels.flatMap((level) => (level.kind === 'wildcard' ? [level.name] : []));
}

function templateNames(template: string): readonly string[] {
  return [...template.matchAll(/\{([A-Za-z][A-Za-z0-9_]*)\}/g)].map((match) => match[1] ?? '');
}

function checkTemplate(entry: TopicMapEntry): void {
  const known = wildcards(entry.pattern.levels);
  const names = templateNames(entry.device);
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined || names.length !== 1) {
    throw new ContractError(
      'invalid-topic-map',
      `${entry.pattern.source}: device ${JSON.stringify(entry.device)} must use exactly one wildcard of the pattern${
        unknown === undefined ? '' : `, and {${unknown}} is none`
      }`,
    );
  }
}

function fillTemplate(template: string, captures: Captures): string {
  return template.replace(/\{([A-Za-z][A-Za-z0-9_]*)\}/g, (_, name: string) => captures[name] ?? '');
}

/** The captures that make a template yield `id`, or undefined where it cannot. */
function readTemplate(template: string, id: DeviceId): Captures | undefined {
  const open = template.indexOf('{');
  const close = template.indexOf('}', open);
  const prefix = template.slice(0, open);
  const suffix = template.slice(close + 1);
  if (id.length <= prefix.length + suffix.length || !id.startsWith(prefix) || !id.endsWith(suffix)) return undefined;
  return { [template.slice(open + 1, close)]: id.slice(prefix.length, id.length - suffix.length) };
}

const sensorFields = {
  temp: { metric: 'temp', unit: '°C' },
  hum: { metric: 'hum', unit: '%' },
  vbat: { metric: 'vbat', unit: 'V' },
};

/** The topics that Muster knows without being told: its own contract, rooms, and the course's `iotclass`. */
export const defaultTopicMap = TopicMap.from({
  topics: [
    { pattern: 'devices/{device}/status', role: 'status' },
    { pattern: 'devices/{device}/lwt', role: 'lwt' },
    { pattern: 'devices/{device}/info', role: 'info' },
    { pattern: 'devices/{device}/config', role: 'config' },
    { pattern: 'devices/{device}/telemetry', role: 'telemetry', decoder: 'json', fields: sensorFields },
    { pattern: 'devices/{device}/command', role: 'command' },
    { pattern: 'devices/{device}/ack', role: 'ack' },
    { pattern: 'home/{room}/motion', device: '{room}-motion', role: 'telemetry', decoder: 'boolean', metric: 'motion' },
    { pattern: 'home/{room}/light/command', device: '{room}-light', role: 'command' },
    { pattern: 'home/{room}/light/state', device: '{room}-light', role: 'telemetry', decoder: 'text', metric: 'light' },
    {
      pattern: 'iotclass/{device}/temperature',
      role: 'telemetry',
      decoder: 'number',
      metric: 'temperature',
      unit: '°C',
    },
    { pattern: 'iotclass/{device}/humidity', role: 'telemetry', decoder: 'number', metric: 'humidity', unit: '%' },
    { pattern: 'iotclass/{device}/status', role: 'status' },
    { pattern: 'iotclass/{device}/command', role: 'command' },
  ],
});
