import type { Captures, ReadingValue, Rule } from '@muster/contract';

/** What made a rule act; stored with what waits because of it. */
export interface TriggerEvent {
  /** The trigger's own id. */
  readonly id: string;
  readonly kind: Rule['triggers'][number]['kind'];
  readonly captures: Captures;
  readonly value?: ReadingValue;
  readonly previous?: ReadingValue;
  readonly topic?: string;
  readonly device?: string;
  readonly metric?: string;
  readonly atMs: number;
}

/** What a rule does to the world. */
export type Effect =
  | {
      readonly kind: 'publish';
      readonly topic: string;
      readonly payload: string;
      readonly qos: 0 | 1;
      readonly retain: boolean;
      readonly expirySeconds: number;
      /** The rules that led to it, this one last. */
      readonly chain: readonly string[];
    }
  | {
      readonly kind: 'notify';
      readonly rule: string;
      readonly subject: string;
      readonly severity: 'info' | 'warning' | 'critical';
      readonly text: string;
    }
  | { readonly kind: 'mode'; readonly mode: string; readonly setBy: string };

/** What identifies a timer. */
export interface TimerName {
  readonly rule: string;
  /** `trigger:0` waits for a state to last, `action:1` carries an action out later. */
  readonly part: string;
  /** The room, the device, … that it is about. */
  readonly subject: string;
}

/** Something that a rule waits for. */
export interface Timer extends TimerName {
  /** `clear`: the state is not there; `armed`: it runs; `done`: it has been carried out and the state still lasts. */
  readonly state: 'clear' | 'armed' | 'done';
  readonly dueMs: number;
  readonly trigger: TriggerEvent;
}

/** The key of a timer in memory. */
export function timerKey({ rule, part, subject }: TimerName): string {
  return `${rule}\n${part}\n${subject}`;
}

/** What follows from an event. */
export interface Reaction {
  readonly effects: Effect[];
  /** Timers that have been set, in any state. */
  readonly timers: Timer[];
  readonly overrides: { readonly rule: string; readonly subject: string; readonly untilMs: number }[];
  readonly runs: {
    readonly rule: string;
    readonly version: number;
    readonly atMs: number;
    readonly event: TriggerEvent;
    readonly outcome: 'acted' | 'waiting' | 'overridden' | 'failed' | 'stopped';
    readonly detail: string | undefined;
  }[];
  /** Rules that do not go on until somebody lets them. */
  readonly stops: { readonly rule: string; readonly reason: string }[];
  /** Rules that do nothing for one subject for a while. */
  readonly rests: { readonly rule: string; readonly subject: string; readonly reason: string }[];
  /** Timers that have lost their meaning. */
  readonly dropped: Timer[];
}

/** Nothing follows, so far. */
export function emptyReaction(): Reaction {
  return { effects: [], timers: [], overrides: [], runs: [], stops: [], rests: [], dropped: [] };
}
