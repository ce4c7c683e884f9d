import {
  FIRMWARE_VERSION,
  parseDeviceSearch,
  wholeText,
  type Comparison,
  type SearchedFirmware,
  type LifeState,
  type SearchedReading,
  type SearchTerm,
  type SearchedSilence,
  type TextPattern,
} from '@muster/contract';
import { Prisma } from '@muster/database';

/** What a search looks at: its conditions name these tables. */
export const SEARCHED_TABLES = Prisma.sql`
  device LEFT JOIN presence ON presence.device = device.id
         LEFT JOIN device_activity ON device_activity.device = device.id`;

/** The broker over which a device was heard; null where it never was. */
export const BROKER_OF_DEVICE = Prisma.sql`coalesce(presence.evidence ->> 'broker', device_activity.broker)`;

const MODEL = Prisma.sql`device.info ->> 'model'`;
const FIRMWARE = Prisma.sql`device.info ->> 'firmware'`;
const COMPARISONS: Readonly<Record<Comparison | '=', Prisma.Sql>> = {
  '<': Prisma.sql`<`,
  '<=': Prisma.sql`<=`,
  '>': Prisma.sql`>`,
  '>=': Prisma.sql`>=`,
  '=': Prisma.sql`=`,
};
/** How devices say yes and no (see decodeBoolean). */
const BOOLEANS: Readonly<Record<string, boolean>> = { true: true, on: true, false: false, off: false };

/** A pattern for LIKE, in which the signs of LIKE in its pieces are only themselves. */
function likeOf(pattern: TextPattern): string {
  return pattern.map((piece) => piece.replaceAll(/[\\%_]/g, '\\$&')).join('%');
}

function matchesAny(text: Prisma.Sql, patterns: readonly TextPattern[]): Prisma.Sql {
  return Prisma.sql`${text} ILIKE ANY (${patterns.map(likeOf)}::text[])`;
}

function anyOf(conditions: readonly Prisma.Sql[]): Prisma.Sql {
  return conditions.length === 0 ? Prisma.sql`false` : Prisma.sql`(${Prisma.join([...conditions], ' OR ')})`;
}

function textCondition(pattern: TextPattern): Prisma.Sql {
  const inside = [['', ...pattern, '']];
  return anyOf([
    ...[Prisma.sql`device.id`, Prisma.sql`device.name`, Prisma.sql`device.description`, MODEL, FIRMWARE].map((column) =>
      matchesAny(column, inside),
    ),
    Prisma.sql`EXISTS (SELECT 1 FROM unnest(device.tags) AS own(tag) WHERE ${matchesAny(Prisma.sql`own.tag`, inside)})`,
  ]);
}

/** A tag as a whole is found through its index. */
function tagCondition(patterns: readonly TextPattern[]): Prisma.Sql {
  const whole = patterns.flatMap((pattern) => wholeText(pattern) ?? []);
  const wild = patterns.filter((pattern) => wholeText(pattern) === undefined);
  return anyOf([
    ...(whole.length === 0 ? [] : [Prisma.sql`device.tags && ${whole}::text[]`]),
    ...(wild.length === 0
      ? []
      : [
          Prisma.sql`EXISTS (SELECT 1 FROM unnest(device.tags) AS own(tag) WHERE ${matchesAny(Prisma.sql`own.tag`, wild)})`,
        ]),
  ]);
}

/**
 * What versions are ordered by, from the groups of {@link FIRMWARE_VERSION}: the numbers, without zeros at the end (1.4
 * is 1.4.0); a release comes behind its pre-releases; numbers within the name of a pre-release count as numbers.
 */
const VERSION_ORDER = Prisma.sql`
  string_to_array(regexp_replace(groups[1], '([.]0+)+$', ''), '.')::bigint[] AS numbers, groups[2] IS NULL AS release,
  coalesce(regexp_replace(
    regexp_replace(ltrim(lower(groups[2]), '-'), '([0-9]+)', '00000000000000000000\\1', 'g'),
    '[0-9]*([0-9]{20})', '\\1', 'g'), '') COLLATE "C" AS pre_release`;

/** A fleet has few versions: each is put in order once, and so is each that was asked for. */
function firmwareCondition(values: readonly SearchedFirmware[]): Prisma.Sql {
  const holds = values.map((value) =>
    value.kind === 'pattern'
      ? matchesAny(Prisma.sql`known.version`, [value.pattern])
      : Prisma.sql`(own.numbers, own.release, own.pre_release) ${COMPARISONS[value.comparison]} (
          SELECT ${VERSION_ORDER} FROM regexp_match(${value.version}, ${FIRMWARE_VERSION}) AS groups)`,
  );
  return Prisma.sql`${FIRMWARE} IN (
    SELECT known.version FROM (SELECT DISTINCT ${FIRMWARE} AS version FROM device) AS known
    CROSS JOIN LATERAL (
      SELECT ${VERSION_ORDER} FROM regexp_match(known.version, ${FIRMWARE_VERSION}) AS groups OFFSET 0) AS own
    WHERE ${anyOf(holds)})`;
}

function readingCondition(value: SearchedReading): Prisma.Sql {
  if (value.kind === 'number')
    return Prisma.sql`reading.number ${COMPARISONS[value.comparison]} ${value.number}::double precision`;
  const text = wholeText(value.pattern);
  if (text === undefined)
    return matchesAny(Prisma.sql`coalesce(reading.text, reading.boolean::text, reading.number::text)`, [value.pattern]);
  const number = /^[+-]?[0-9.]+(?:e[+-]?[0-9]+)?$/i.test(text) ? Number(text) : NaN;
  const boolean = Object.hasOwn(BOOLEANS, text.toLowerCase()) ? BOOLEANS[text.toLowerCase()] : undefined;
  return anyOf([
    matchesAny(Prisma.sql`reading.text`, [value.pattern]),
    ...(Number.isFinite(number) ? [Prisma.sql`reading.number = ${number}::double precision`] : []),
    ...(boolean === undefined ? [] : [Prisma.sql`reading.boolean = ${boolean}`]),
  ]);
}

/** A live word of the device itself on its status topics; a will is the broker's word. */
const OWN_WORD = Prisma.sql`
  SELECT 1 FROM presence_transition AS word
  WHERE word.device = device.id AND word.reason IN ('birth', 'shutdown', 'sleep', 'update')
    AND word.evidence -> 'retained' = 'false'`;

function silenceCondition(value: SearchedSilence, now: Date): Prisma.Sql {
  if (value.kind === 'never') return Prisma.sql`(device_activity.device IS NULL AND NOT EXISTS (${OWN_WORD}))`;
  const since = new Date(now.getTime() - value.durationMs);
  const heard = Prisma.sql`(device_activity.last_seen_at >= ${since} OR EXISTS (${OWN_WORD} AND word.at >= ${since}))`;
  return value.comparison.startsWith('<') ? heard : Prisma.sql`${heard} IS NOT TRUE`;
}

function conditionOf(term: SearchTerm, now: Date): Prisma.Sql {
  switch (term.field) {
    case 'text':
      return textCondition(term.pattern);
    case 'id':
      return matchesAny(Prisma.sql`device.id`, term.values);
    case 'name':
      return matchesAny(Prisma.sql`device.name`, term.values);
    case 'model':
      return matchesAny(MODEL, term.values);
    case 'broker':
      return matchesAny(BROKER_OF_DEVICE, term.values);
    case 'tag':
      return tagCondition(term.values);
    case 'group':
      return Prisma.sql`device.id IN (
        SELECT own.device FROM device_group_member AS own WHERE ${matchesAny(Prisma.sql`own."group"`, term.values)})`;
    case 'presence':
      return Prisma.sql`coalesce(presence.state, 'unknown') = ANY (${[...term.values]}::text[])`;
    case 'state':
      return Prisma.sql`device.state = ANY (${[...term.values]}::text[])`;
    case 'fw':
      return firmwareCondition(term.values);
    case 'seen':
      return anyOf(term.values.map((value) => silenceCondition(value, now)));
    case 'last':
      return Prisma.sql`device.id IN (
        SELECT reading.device FROM last_reading AS reading
        WHERE reading.metric = ${term.metric} AND ${anyOf(term.values.map(readingCondition))})`;
  }
}

/**
 * The condition on {@link SEARCHED_TABLES} that a search stands for; everything that was typed is a parameter.
 * Decommissioned and archived devices are left out unless `state` or a term asks for a state.
 * @throws ContractError `invalid-search`
 */
export function searchCondition(search: string, state?: LifeState, now = new Date()): Prisma.Sql {
  const terms = parseDeviceSearch(search);
  const asksForState = terms.some(({ field, negated }) => field === 'state' && !negated);
  return Prisma.join(
    [
      state !== undefined
        ? Prisma.sql`device.state = ${state}`
        : asksForState
          ? Prisma.sql`true`
          : Prisma.sql`device.state NOT IN ('decommissioned', 'archived')`,
      // What is not known of a device does not match, and so it matches the negation.
      ...terms.map((term) =>
        term.negated ? Prisma.sql`(${conditionOf(term, now)}) IS NOT TRUE` : conditionOf(term, now),
      ),
    ],
    ' AND ',
  );
}
