import type { ReadingValue } from '@muster/contract';

/** A value with its unit: at most three decimals, and never 0 for what is not 0. */
export function valueText(value: ReadingValue, unit: string | null): string {
  const text = typeof value === 'number' ? numberText(value) : String(value);
  return unit === null || unit === '' ? text : `${text} ${unit}`;
}

function numberText(value: number): string {
  const rounded = Math.round(value * 1000) / 1000;
  return rounded === 0 && value !== 0 ? value.toPrecision(3) : String(Number.isFinite(rounded) ? rounded : value);
}

/** A whole number with its thousands apart. */
export function countText(count: number): string {
  return count.toLocaleString('en');
}

/** Times as a terminal shows them, in one time zone (`Asia/Kolkata`; that of this machine where none is given). */
export class Clock {
  readonly #time: Intl.DateTimeFormat;
  readonly #day: Intl.DateTimeFormat;

  constructor(timeZone?: string) {
    const zone = timeZone === undefined ? {} : { timeZone };
    this.#time = new Intl.DateTimeFormat('en-GB', { ...zone, timeStyle: 'medium', hourCycle: 'h23' });
    // The one locale that writes a date as ISO 8601 does.
    this.#day = new Intl.DateTimeFormat('sv-SE', { ...zone, dateStyle: 'short' });
  }

  /** `[14:32:15]`, or `[2026-11-21]` for another day than today's. */
  bracketed(atMs: number, nowMs: number): string {
    // A device may tell any number for a time.
    if (!isDate(atMs)) return '[no date]';
    const day = this.#day.format(atMs);
    return day === this.#day.format(nowMs) ? `[${this.#time.format(atMs)}]` : `[${day}]`;
  }

  /** `14:32:15`. */
  time(atMs: number): string {
    return this.#time.format(atMs);
  }
}

/** An instant as ISO 8601 in UTC; null for what is none. */
export function isoTime(atMs: number): string | null {
  return isDate(atMs) ? new Date(atMs).toISOString() : null;
}

/** ECMAScript's dates reach 100,000,000 days from 1970. */
function isDate(atMs: number): boolean {
  return Number.isFinite(atMs) && Math.abs(atMs) <= 8.64e15;
}
