import type { LastReading } from '@muster/contract';

const STEPS: readonly (readonly [unit: string, seconds: number])[] = [
  ['d', 86_400],
  ['h', 3_600],
  ['min', 60],
];

/** How long ago an instant was: `12 s`, `3 min`, `2 h`, `5 d`; a dash where there is none. */
export function ageText(instant: string | null, now: number): string {
  if (instant === null) return '–';
  const seconds = Math.max(0, Math.round((now - Date.parse(instant)) / 1000));
  const step = STEPS.find(([, size]) => seconds >= size);
  return step === undefined ? `${seconds} s` : `${Math.floor(seconds / step[1])} ${step[0]}`;
}

/** A value with its unit. */
export function valueText({ value, unit }: LastReading): string {
  const text = typeof value === 'number' ? String(Math.round(value * 1000) / 1000) : String(value);
  return unit === null ? text : `${text} ${unit}`;
}
