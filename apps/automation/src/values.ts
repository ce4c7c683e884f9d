import { decodeBoolean, storableText, type ReadingValue } from '@muster/contract';

/** A value is stored with what a rule did because of it. */
const MAX_TEXT = 1_024;

/** What a control message may be worth: a value, or JSON with values in it. */
export function valueOf(text: string, path: string | undefined): ReadingValue | undefined {
  const trimmed = text.trim();
  let value: unknown = trimmed;
  if (/^[[{"]|^(true|false)$|^-?\d/.test(trimmed)) {
    try {
      value = JSON.parse(trimmed) as unknown;
    } catch {
      // Text that only looks like JSON is text.
    }
  }
  for (const step of path?.split('.') ?? []) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = (value as Readonly<Record<string, unknown>>)[step];
  }
  if (typeof value === 'string') return storableText(value, MAX_TEXT);
  if (typeof value === 'boolean') return value;
  if (typeof value === 'number') return Number.isFinite(value) ? value : undefined;
  return typeof value === 'object' && value !== null ? storableText(trimmed, MAX_TEXT) : undefined;
}

/** Whether a value is the one that a rule names: `ON` is true where true is meant, `21` is 21. */
export function isValue(found: ReadingValue | undefined, wanted: ReadingValue): boolean {
  if (found === undefined) return false;
  if (found === wanted) return true;
  if (typeof wanted === 'boolean') {
    if (typeof found === 'number') return (found === 1 && wanted) || (found === 0 && !wanted);
    if (typeof found !== 'string') return false;
    try {
      return decodeBoolean(found) === wanted;
    } catch {
      // Neither true nor false in any spelling.
      return false;
    }
  }
  if (typeof wanted === 'number') return typeof found === 'string' && found.trim() !== '' && Number(found) === wanted;
  return String(found) === wanted;
}

/** A text with its {wildcards} filled in. */
export function filled(template: string, captures: Readonly<Record<string, string>>): string {
  return template.replace(/\{([A-Za-z][A-Za-z0-9_]*)\}/g, (whole, name: string) =>
    Object.hasOwn(captures, name) ? (captures[name] ?? whole) : whole,
  );
}

/** Which room, device, … an event is about: the key under which timers and overrides are kept. */
export function subjectOf(captures: Readonly<Record<string, string>>, names = Object.keys(captures)): string {
  return [...names]
    .sort()
    .map((name) => `${name}=${captures[name] ?? ''}`)
    .join(' ');
}

const WEEKDAYS: Readonly<Record<string, number>> = { Mon: 1, Tue: 2, Wed: 3, Thu: 4, Fri: 5, Sat: 6, Sun: 7 };
const formats = new Map<string, Intl.DateTimeFormat>();

/** A moment in a time zone, for conditions. */
export function timeIn(zone: string, epochMs: number): Readonly<Record<string, number>> {
  let format = formats.get(zone);
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
      weekday: 'short',
    });
    formats.set(zone, format);
  }
  const parts = Object.fromEntries(format.formatToParts(epochMs).map(({ type, value }) => [type, value]));
  const { year, month, day, hour, minute, second, weekday } = parts;
  return {
    year: Number(year),
    month: Number(month),
    day: Number(day),
    hour: Number(hour),
    minute: Number(minute),
    second: Number(second),
    weekday: WEEKDAYS[weekday ?? ''] ?? 0,
  };
}
