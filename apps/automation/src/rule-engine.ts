import { isDeepStrictEqual } from 'node:util';
import type { LastValue } from '@muster/database';
import type { Captures, DigestReading, PresenceState, ReadingValue } from '@muster/contract';
import {
  compileRule,
  meaningOf,
  partIn,
  type CompiledAction,
  type CompiledRule,
  type CompiledTrigger,
  type RuleInForce,
} from './compiled-rule.ts';
import type { ConditionScope } from './conditions.ts';
import { emptyReaction, timerKey, type Reaction, type Timer, type TriggerEvent } from './reaction.ts';
import { describeEffect, effectOf, eventOf, failedRun } from './rule-effects.ts';
import { FiringLimit } from './firing-limit.ts';
import { LastReadings } from './last-readings.ts';
import { RuleIndex } from './rule-index.ts';
import { subjectOf, timeIn, valueOf } from './values.ts';

/** A message on a control topic. */
export interface ControlMessage {
  readonly topic: string;
  readonly text: string;
  /** Published just now; not retained, redelivered or kept for us while we were away. */
  readonly isLive: boolean;
  /** The rules that led to it, where automation itself published it. */
  readonly chain: readonly string[];
}

/** A device's change of presence. */
export interface PresenceChange {
  readonly device: string;
  readonly to: PresenceState;
  readonly isLive: boolean;
}

/** Longer topics are nobody's room or device; what is kept of one has to fit into an index of PostgreSQL. */
const MAX_TOPIC_LENGTH = 512;
/** Rooms and devices come from outside: beyond so many states, those that were heard of first are forgotten. */
const MAX_STATES = 500_000;

/** What is on record fires nothing. */
const KNOWN = { isLive: false, chain: [] };

interface TriggerState {
  holds: boolean | undefined;
  value: ReadingValue | undefined;
}

/**
 * What rules do: events in, reactions out. It keeps what was last heard and what waits, and does nothing by itself: clock
 * and world are the caller's.
 */
export class RuleEngine {
  #index = new RuleIndex([]);
  readonly #states = new Map<string, TriggerState>();
  readonly #readings = new LastReadings();
  readonly #timers = new Map<string, Timer>();
  readonly #overrides = new Map<string, number>();
  readonly #firings = new FiringLimit();
  #mode = 'day';

  constructor(private readonly timeZone: string) {}

  get mode(): string {
    return this.#mode;
  }

  /** Sets the mode that conditions see. */
  setMode(mode: string): void {
    this.#mode = mode;
  }

  /** The rules in force. */
  get index(): RuleIndex {
    return this.#index;
  }

  /** What is waited for. */
  get timers(): ReadonlyMap<string, Timer> {
    return this.#timers;
  }

  /**
   * Takes the rules that are in force from now on; answers the timers that have lost their meaning. A timer stays where
   * the trigger or action that set it is the same as before.
   */
  use(rules: readonly RuleInForce[]): readonly Timer[] {
    const before = this.#index;
    this.#index = new RuleIndex(
      rules.map((one) => {
        const known = before.rule(one.rule.id);
        return known?.version === one.version
          ? known
          : compileRule(one, (device, metric) => this.#readings.of(device, metric));
      }),
    );
    const dropped = [...this.#timers.values()].filter((timer) => {
      const part = partIn(this.#index.rule(timer.rule), timer.part);
      const old = before.rule(timer.rule);
      return part === undefined || (old !== undefined && !isDeepStrictEqual(part, partIn(old, timer.part)));
    });
    for (const timer of dropped) this.#timers.delete(timerKey(timer));
    const isSame = new Map<string, boolean>();
    for (const key of this.#states.keys()) {
      const [rule = '', part = ''] = key.split('\n');
      const name = `${rule}\n${part}`;
      const known =
        isSame.get(name) ?? isDeepStrictEqual(partIn(before.rule(rule), part), partIn(this.#index.rule(rule), part));
      isSame.set(name, known);
      if (!known) this.#states.delete(key);
    }
    return dropped;
  }

  /** Takes what was waiting and who had the last word when automation ended. */
  restore(timers: readonly Timer[], overrides: readonly { rule: string; subject: string; untilMs: number }[]): void {
    for (const timer of timers) this.#timers.set(timerKey(timer), timer);
    for (const { rule, subject, untilMs } of overrides) this.#overrides.set(`${rule}\n${subject}`, untilMs);
  }

  /** Takes a last value that is on record: triggers that have heard nothing yet learn how things stand. */
  knowReading({ device, metric, value, atMs }: Omit<LastValue, 'unit'>, nowMs: number): Reaction {
    const reaction = emptyReaction();
    this.#readings.take({ device, metric, value, atMs, late: true });
    for (const entry of this.#index.onMetric(metric, device))
      if (!this.#states.has(stateKey(entry, { device })))
        this.#take(entry, { device }, value, KNOWN, { device, metric }, nowMs, reaction);
    return reaction;
  }

  /** Takes a presence that is on record: triggers that have heard nothing yet learn how things stand. */
  knowPresence(device: string, state: PresenceState, nowMs: number): Reaction {
    const reaction = emptyReaction();
    for (const entry of this.#index.onPresence(device))
      if (!this.#states.has(stateKey(entry, { device })))
        this.#take(entry, { device }, state, KNOWN, { device }, nowMs, reaction);
    return reaction;
  }

  /** Takes a message on a control topic. */
  message(message: ControlMessage, nowMs: number): Reaction {
    const reaction = emptyReaction();
    if (message.topic.length > MAX_TOPIC_LENGTH) return reaction;
    if (message.isLive && message.chain.length === 0) {
      for (const { entry, captures } of this.#index.overriddenBy(message.topic)) {
        const untilMs = nowMs + (entry.rule.override?.for ?? 0);
        const subject = subjectOf(captures);
        this.#overrides.set(`${entry.rule.id}\n${subject}`, untilMs);
        reaction.overrides.push({ rule: entry.rule.id, subject, untilMs });
      }
    }
    for (const { entry, captures } of this.#index.onTopic(message.topic)) {
      const { trigger } = entry;
      if (trigger.kind !== 'topic') continue;
      const value = valueOf(message.text, trigger.path);
      this.#take(entry, captures, value, message, { topic: message.topic }, nowMs, reaction);
    }
    return reaction;
  }

  /** Takes a reading of the digest. */
  reading(reading: DigestReading, nowMs: number): Reaction {
    const reaction = emptyReaction();
    const { device, metric, value } = reading;
    if (!this.#readings.take(reading)) return reaction;
    const origin = { isLive: !reading.late, chain: [] };
    for (const entry of this.#index.onMetric(metric, device))
      this.#take(entry, { device }, value, origin, { device, metric }, nowMs, reaction);
    return reaction;
  }

  /** Takes a change of presence. */
  presence({ device, to, isLive }: PresenceChange, nowMs: number): Reaction {
    const reaction = emptyReaction();
    for (const entry of this.#index.onPresence(device))
      this.#take(entry, { device }, to, { isLive, chain: [] }, { device }, nowMs, reaction);
    return reaction;
  }

  /** A schedule's time, or the sun's. */
  scheduled(rule: string, index: number, nowMs: number): Reaction {
    const reaction = emptyReaction();
    const trigger = this.#index.rule(rule)?.triggers[index];
    if (trigger !== undefined)
      this.#fire(trigger, eventOf(trigger, {}, undefined, undefined, {}, nowMs), [], nowMs, reaction);
    return reaction;
  }

  /** A timer's time: its effects are to be carried out once. Undefined where it waits no more. */
  due(key: string, nowMs: number): Reaction | undefined {
    const timer = this.#timers.get(key);
    if (timer?.state !== 'armed' || timer.dueMs > nowMs) return undefined;
    const compiled = this.#index.rule(timer.rule);
    const reaction = emptyReaction();
    if (compiled === undefined) return reaction;
    const untilMs = this.#overriddenUntil(compiled, timer.trigger.captures, nowMs);
    if (untilMs !== undefined) {
      this.#setTimer({ ...timer, dueMs: untilMs }, reaction);
      return reaction;
    }
    const index = Number(timer.part.split(':')[1]);
    if (timer.part.startsWith('action:')) {
      this.#timers.delete(key);
      const action = compiled.actions[index];
      if (action !== undefined) this.#act(compiled, action, timer.trigger, [], nowMs, reaction);
      this.#record(compiled, timer.trigger, nowMs, reaction);
    } else {
      this.#timers.set(key, { ...timer, state: 'done' });
      const trigger = compiled.triggers[index];
      if (trigger !== undefined) this.#fire(trigger, timer.trigger, [], nowMs, reaction);
    }
    return reaction;
  }

  /** Decides what a value means to a trigger: begins or ends its state, fires it, or nothing. */
  #take(
    entry: CompiledTrigger,
    captures: Captures,
    value: ReadingValue | undefined,
    circumstances: { readonly isLive: boolean; readonly chain: readonly string[] },
    origin: { readonly topic?: string; readonly device?: string; readonly metric?: string },
    nowMs: number,
    reaction: Reaction,
  ): void {
    const { trigger, compiled, index } = entry;
    const subject = subjectOf(captures);
    const key = stateKey(entry, captures);
    const state = this.#stateOf(key);
    const { value: previous, holds: held } = state;
    state.value = value ?? previous;
    const meaning =
      trigger.kind === 'presence'
        ? ({ kind: 'state', holds: value === trigger.presence } as const)
        : trigger.kind === 'topic' || trigger.kind === 'metric'
          ? meaningOf(trigger, value, previous, held)
          : undefined;
    if (meaning === undefined) return;
    const event = eventOf(entry, captures, value, previous, origin, nowMs);
    if (meaning.kind === 'event') {
      if (circumstances.isLive) this.#fire(entry, event, circumstances.chain, nowMs, reaction);
      return;
    }
    state.holds = meaning.holds;
    const lasting = 'for' in trigger ? trigger.for : undefined;
    if (lasting === undefined) {
      if (meaning.holds && held !== true && circumstances.isLive)
        this.#fire(entry, event, circumstances.chain, nowMs, reaction);
      return;
    }
    const timer = this.#timers.get(key);
    const base = { rule: compiled.rule.id, part: `trigger:${index}`, subject, trigger: event };
    if (!meaning.holds) {
      if (timer?.state !== 'clear') this.#setTimer({ ...base, state: 'clear', dueMs: 0 }, reaction);
    } else if (timer === undefined && !circumstances.isLive) {
      // Nobody knows for how long it has been so: the state counts from the next time it begins.
      this.#setTimer({ ...base, state: 'done', dueMs: 0 }, reaction);
    } else if (timer === undefined || timer.state === 'clear') {
      this.#setTimer({ ...base, state: 'armed', dueMs: nowMs + lasting }, reaction);
    }
  }

  #fire(
    entry: CompiledTrigger,
    event: TriggerEvent,
    chain: readonly string[],
    nowMs: number,
    reaction: Reaction,
  ): void {
    const { compiled } = entry;
    const { id } = compiled.rule;
    const run = { rule: id, version: compiled.version, atMs: nowMs, event };
    if (chain.includes(id)) {
      const reason = `it triggered itself: ${[...chain, id].join(' → ')}`;
      reaction.dropped.push(...this.use(this.#index.rules.filter(({ rule }) => rule.id !== id)));
      reaction.stops.push({ rule: id, reason });
      reaction.runs.push({ ...run, outcome: 'stopped', detail: reason });
      return;
    }
    if (this.#overriddenUntil(compiled, event.captures, nowMs) !== undefined) {
      reaction.runs.push({ ...run, outcome: 'overridden', detail: undefined });
      return;
    }
    const scope = this.#scope(compiled, event, nowMs);
    try {
      if (!compiled.conditions.every((condition) => condition.evaluate(scope) === true)) return;
    } catch (error) {
      reaction.runs.push(failedRun(compiled, event, nowMs, error));
      return;
    }
    const subject = subjectOf(event.captures);
    const { mayAct, reason } = this.#firings.take(id, subject, nowMs);
    if (reason !== undefined) {
      reaction.rests.push({ rule: id, subject, reason });
      reaction.runs.push({ ...run, outcome: 'stopped', detail: reason });
    }
    if (!mayAct) return;
    for (const action of compiled.actions) {
      try {
        if (action.condition !== undefined && action.condition.evaluate(scope) !== true) continue;
      } catch (error) {
        reaction.runs.push(failedRun(compiled, event, nowMs, error));
        continue;
      }
      const { after } = action.action;
      const timer = { rule: id, part: `action:${action.index}`, subject, trigger: event };
      if (after === undefined) this.#act(compiled, action, event, chain, nowMs, reaction);
      else this.#setTimer({ ...timer, state: 'armed', dueMs: nowMs + after }, reaction);
    }
    this.#record(compiled, event, nowMs, reaction);
  }

  #act(
    compiled: CompiledRule,
    { action, value }: CompiledAction,
    event: TriggerEvent,
    chain: readonly string[],
    nowMs: number,
    reaction: Reaction,
  ): void {
    try {
      reaction.effects.push(
        effectOf({ action, value }, event, chain, compiled.rule.id, () => this.#scope(compiled, event, nowMs)),
      );
    } catch (error) {
      reaction.runs.push(failedRun(compiled, event, nowMs, error));
      return;
    }
    if (action.kind === 'mode') this.#mode = action.mode;
  }

  #record(compiled: CompiledRule, event: TriggerEvent, nowMs: number, reaction: Reaction): void {
    const { id } = compiled.rule;
    const waiting = reaction.timers.filter(({ rule, part }) => rule === id && part.startsWith('action:'));
    if (reaction.effects.length === 0 && waiting.length === 0) return;
    reaction.runs.push({
      rule: id,
      version: compiled.version,
      atMs: nowMs,
      event,
      outcome: reaction.effects.length > 0 ? 'acted' : 'waiting',
      detail: reaction.effects.map(describeEffect).join('; ') || undefined,
    });
  }

  #scope(compiled: CompiledRule, event: TriggerEvent, nowMs: number): ConditionScope {
    const { captures, ...facts } = event;
    const zone = compiled.rule.timezone ?? this.timeZone;
    return {
      trigger: { ...facts, ...captures },
      mode: this.#mode,
      // Calendars are slow, and few conditions ask.
      get time() {
        return timeIn(zone, nowMs);
      },
    };
  }

  #overriddenUntil(compiled: CompiledRule, captures: Captures, nowMs: number): number | undefined {
    if (compiled.rule.override === undefined) return undefined;
    const key = `${compiled.rule.id}\n${subjectOf(captures, [...compiled.overrideNames])}`;
    const untilMs = this.#overrides.get(key);
    if (untilMs === undefined) return undefined;
    if (untilMs > nowMs) return untilMs;
    this.#overrides.delete(key);
    return undefined;
  }

  #setTimer(timer: Timer, reaction: Reaction): void {
    this.#timers.set(timerKey(timer), timer);
    reaction.timers.push(timer);
  }

  #stateOf(key: string): TriggerState {
    const known = this.#states.get(key);
    if (known !== undefined) return known;
    const [oldest] = this.#states.size < MAX_STATES ? [] : this.#states.keys();
    if (oldest !== undefined) this.#states.delete(oldest);
    const made: TriggerState = { holds: undefined, value: undefined };
    this.#states.set(key, made);
    return made;
  }
}

function stateKey({ compiled, index }: CompiledTrigger, captures: Captures): string {
  return timerKey({ rule: compiled.rule.id, part: `trigger:${index}`, subject: subjectOf(captures) });
}
