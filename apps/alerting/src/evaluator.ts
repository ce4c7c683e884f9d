import type { DigestReading } from '@muster/contract';
import type { LastValue } from '@muster/database';
import TinyQueue from 'tinyqueue';
import { elapse, INACTIVE, observe, stepOf, type AlertState } from './alert-machine.ts';
import { concerns, presenceValue, readingSource, type Condition } from './condition.ts';
import { SETTLE_MS, type BrokerCondition, type DeviceFacts, type FleetView } from './fleet-view.ts';
import { Hearing } from './hearing.ts';
import { LossHistory, type Loss } from './losses.ts';
import {
  endOf,
  RulesInForce,
  startRunning,
  type Active,
  type Measurement,
  type OpenState,
  type Running,
  type Step,
} from './running-rule.ts';
import { IncreaseWindow, RateWindow } from './windows.ts';

interface Appointment {
  readonly dueMs: number;
  readonly running: Running;
  readonly subject: string;
  readonly what: 'due' | 'silence' | 'losses';
}

/** A last value that is older says nothing about now, unless it is good news. */
export const RECENT_MS = 10 * 60_000;

/**
 * Where every rule stands with every subject. Observations find the rules that they concern by an index, so those that
 * do not match cost nothing; what is due later stands in one queue.
 */
export class Evaluator {
  readonly #rules = new RulesInForce();
  readonly #schedule = new TinyQueue<Appointment>([], (one, other) => one.dueMs - other.dueMs);
  readonly #hearing: Hearing;
  readonly #losses: LossHistory;
  /** How far back losses are known, from when they were read. */
  #lossesWithinMs = 0;

  constructor(
    private readonly fleet: FleetView,
    private readonly onStep: (step: Step) => void,
  ) {
    this.#hearing = new Hearing(fleet);
    this.#losses = new LossHistory((loss) => fleet.lossCountsFromMs(loss));
  }

  /** The metrics that rules look at. */
  get metrics(): ReadonlySet<string> {
    return this.#rules.metrics;
  }

  /** How far back losses have to be read, because a rule counts over a longer time than is known. */
  get lossesToReadMs(): number | undefined {
    const withinMs = this.#rules.longestWindowMs('losses');
    return this.#lossesWithinMs < withinMs ? withinMs : undefined;
  }

  /** Whether a rule looks at a source. */
  uses(source: string): boolean {
    return this.#rules.uses(source);
  }

  /** When something is due next; undefined where nothing is. */
  get nextDueMs(): number | undefined {
    return this.#schedule.peek()?.dueMs;
  }

  /**
   * Puts rules in force, instead of all before. Alerts of rules that are gone, or that look at something else now, end;
   * those of a new version of the same rule go on.
   */
  setRules(conditions: readonly Condition[], nowMs: number): void {
    const before = new Map(this.#rules.all.map((running) => [running.condition.rule.name, running]));
    const inForce: Running[] = [];
    for (const condition of conditions) {
      const { name } = condition.rule;
      const old = before.get(name);
      if (old?.condition.version === condition.version) {
        inForce.push(old);
        before.delete(name);
        continue;
      }
      const fresh = startRunning(condition);
      if (old?.condition.source === condition.source && old.condition.rule.kind === condition.rule.kind)
        for (const [subject, active] of old.active) {
          if (!concerns(condition, subject)) continue;
          old.active.delete(subject);
          this.#resume(fresh, subject, active);
        }
      inForce.push(fresh);
    }
    for (const old of before.values()) {
      old.isRemoved = true;
      for (const [subject, { state, value }] of old.active)
        this.onStep({ condition: old.condition, subject, step: endOf(state), state, value, nowMs });
    }
    this.#rules.set(inForce);
    this.#hearing.keep((source) => this.#rules.uses(source));
    // What no rule looked at any more has been forgotten.
    this.#lossesWithinMs = Math.min(this.#lossesWithinMs, this.#rules.longestWindowMs('losses'));
    this.#countAllLosses(nowMs);
  }

  /** Goes on with alerts that were open; answers those whose rule is gone. */
  restore(open: readonly OpenState[]): readonly OpenState[] {
    return open.filter(({ rule, subject, sinceMs, startedMs, value }) => {
      const running = this.#rules.find(rule);
      if (running === undefined) return true;
      const state: Active['state'] =
        startedMs === null ? { phase: 'pending', sinceMs, dueMs: sinceMs } : { phase: 'firing', sinceMs, startedMs };
      this.#resume(running, subject, { state, value });
      return false;
    });
  }

  /** Takes readings as they come. Late ones show that the device was heard, and fire nothing. */
  readings(readings: readonly DigestReading[], nowMs: number): void {
    for (const { device, metric, value, atMs, late } of readings) {
      const source = readingSource(metric);
      const concerned = this.#rules.concerned(source, device);
      if (concerned.length === 0) continue;
      this.#hear(source, concerned, device, nowMs, nowMs);
      if (late || typeof value === 'string') continue;
      this.#hearing.read(source, device, atMs);
      for (const running of concerned) this.#reading(running, device, Number(value), atMs, nowMs);
    }
  }

  /**
   * Takes last values, for whoever may have missed readings: at the start and after a gap. They may be older than what is
   * known, and what is not recent fires nothing.
   * @param heardMs when each was received, by our clock
   */
  lastValues(values: readonly (LastValue & { readonly heardMs: number })[], nowMs: number): void {
    for (const { device, metric, value, atMs, heardMs } of values) {
      const source = readingSource(metric);
      const concerned = this.#rules.concerned(source, device);
      if (concerned.length === 0) continue;
      this.#hear(source, concerned, device, Math.min(heardMs, nowMs), nowMs);
      if (typeof value === 'string' || !this.#hearing.readAgain(source, device, atMs, nowMs)) continue;
      const isRecent = Math.abs(nowMs - atMs) < RECENT_MS;
      for (const running of concerned) {
        const { rule, verdict } = running.condition;
        if (rule.kind !== 'threshold') continue;
        if (isRecent || verdict(Number(value)) === 'clear') this.#observe(running, device, Number(value), nowMs);
      }
    }
  }

  /** Takes that any telemetry of a device came. */
  heard(device: string, heardMs: number, nowMs: number): void {
    const concerned = this.#rules.concerned('heard', device);
    if (concerned.length > 0) this.#hear('heard', concerned, device, heardMs, nowMs);
  }

  /** Takes that it is known until a time which devices were heard. */
  looked(untilMs: number, nowMs: number): void {
    this.#hearing.looked(untilMs);
    for (const running of this.#rules.all) {
      const overdue = [...running.overdue];
      running.overdue.clear();
      for (const device of overdue) this.#watchAgain(running, device, nowMs);
    }
  }

  /** Takes that ingestion listens to a broker since a time, or that it does not: until then silence says nothing. */
  ingestion(broker: string, isListening: boolean, sinceMs: number, nowMs: number): void {
    this.#hearing.ingestion(broker, isListening, sinceMs);
    for (const [device, facts] of this.fleet.devices)
      if (facts.broker === broker)
        for (const running of this.#rules.absencesOf(device)) this.#watch(running, device, nowMs);
  }

  /** Takes what is known of a device now. */
  device(device: string, facts: DeviceFacts, nowMs: number): void {
    this.fleet.setDevice(device, facts);
    for (const running of this.#rules.concerned('presence', device))
      this.#observe(running, device, presenceValue(running.condition.rule, facts.state), nowMs);
    for (const running of this.#rules.absencesOf(device)) {
      // Its goodbye says why it is silent.
      if (facts.state === 'offline' && running.active.has(device)) this.#observe(running, device, 0, nowMs);
      this.#watch(running, device, nowMs);
    }
  }

  /** Takes losses as they come. */
  losses(losses: readonly Loss[], nowMs: number): void {
    for (const loss of losses) if (this.#rules.concerned('losses', loss.device).length > 0) this.#losses.add(loss);
    for (const device of new Set(losses.map((loss) => loss.device)))
      for (const running of this.#rules.concerned('losses', device)) this.#countLosses(running, device, nowMs);
  }

  /**
   * Takes all losses of a time: at the start, and for new rules. Those that are known already count once.
   * @param withinMs how far back they go; as far as {@link lossesToReadMs}, or counts stay unknown
   */
  lossHistory(losses: readonly Loss[], withinMs: number, nowMs: number): void {
    for (const loss of losses) this.#losses.add(loss);
    this.#lossesWithinMs = withinMs;
    this.#countAllLosses(nowMs);
  }

  /** Takes that a broker went away or came back: what devices behind it do is judged anew. */
  broker(broker: string, condition: BrokerCondition, nowMs: number): void {
    this.fleet.setBroker(broker, condition);
    for (const [device, facts] of this.fleet.devices) {
      if (facts.broker !== broker) continue;
      for (const running of this.#rules.absencesOf(device)) this.#watch(running, device, nowMs);
      for (const running of this.#rules.concerned('presence', device))
        if (running.active.get(device)?.state.phase === 'pending') this.#observe(running, device, 1, nowMs);
    }
    // What was its own doing is known now, and what was not is no longer held back.
    if (condition.kind === 'there') this.#countAllLosses(nowMs);
  }

  /** Takes a measurement of something that is no device. */
  measure({ source, subject, value }: Measurement, nowMs: number): void {
    for (const running of this.#rules.concerned(source, subject)) {
      const { windowMs, expected } = running.condition;
      if (windowMs === 0) {
        this.#observe(running, subject, value - expected(this.fleet.devicesBehind(subject)), nowMs);
        continue;
      }
      const window = running.increases.get(subject) ?? new IncreaseWindow(windowMs);
      running.increases.set(subject, window);
      const { increase, isComplete } = window.add(value, nowMs);
      // After a restart what was counted before is not known: what fires goes on until it is.
      if (isComplete || running.condition.verdict(increase) === 'breached')
        this.#observe(running, subject, increase, nowMs);
    }
  }

  /** Ends what is open for a subject that is out of service, and forgets it. */
  forget(device: string, nowMs: number): void {
    this.fleet.forget(device);
    this.#hearing.forget(device);
    this.#losses.forget(device);
    for (const running of this.#rules.all) {
      const active = running.active.get(device);
      const { rates, recounts, watched, overdue } = running;
      for (const remembered of [running.active, rates, recounts, watched, overdue]) remembered.delete(device);
      if (active !== undefined)
        this.onStep({ ...active, condition: running.condition, subject: device, step: endOf(active.state), nowMs });
    }
  }

  /** Does what is due. */
  tick(nowMs: number): void {
    for (let next = this.#schedule.peek(); next !== undefined && next.dueMs <= nowMs; next = this.#schedule.peek()) {
      this.#schedule.pop();
      const { running, subject, what, dueMs } = next;
      if (running.isRemoved) continue;
      if (what === 'losses') {
        if (running.recounts.get(subject) !== dueMs) continue;
        running.recounts.delete(subject);
        this.#countLosses(running, subject, nowMs);
      } else if (what === 'silence') this.#watchAgain(running, subject, nowMs);
      else {
        const active = running.active.get(subject);
        if (active !== undefined) this.#enter(running, subject, elapse(active.state, nowMs), active.value, nowMs);
      }
    }
  }

  #reading(running: Running, device: string, value: number, atMs: number, nowMs: number): void {
    const { rule, windowMs } = running.condition;
    if (rule.kind === 'threshold') this.#observe(running, device, value, nowMs);
    if (rule.kind !== 'rate') return;
    const window = running.rates.get(device) ?? new RateWindow(windowMs);
    running.rates.set(device, window);
    const rate = window.add(value, atMs);
    if (rate !== undefined) this.#observe(running, device, rate, nowMs);
    if (running.active.has(device)) this.#watch(running, device, nowMs);
  }

  #observe(running: Running, subject: string, value: number, nowMs: number): void {
    const { condition } = running;
    const verdict = condition.verdict(value);
    const active = running.active.get(subject);
    if (active === undefined && verdict !== 'breached') return;
    const device = condition.rule.kind === 'presence' ? this.fleet.devices.get(subject) : undefined;
    const sinceMs = Math.min(device?.sinceMs ?? nowMs, nowMs);
    const state = observe(active?.state ?? INACTIVE, {
      verdict,
      nowMs,
      sinceMs,
      forMs: condition.forMs,
      notBeforeMs: device?.state === 'lost' ? Math.max(this.fleet.holdUntilMs(device.broker), sinceMs + SETTLE_MS) : 0,
    });
    const keepsValue = active?.state.phase === 'firing' && state.phase === 'firing';
    this.#enter(running, subject, state, keepsValue ? active.value : value, nowMs);
  }

  #enter(running: Running, subject: string, state: AlertState, value: number | null, nowMs: number): void {
    const before = running.active.get(subject);
    if (state.phase === 'inactive') running.active.delete(subject);
    else {
      if (before?.state === state && before.value === value) return;
      running.active.set(subject, { state, value });
      if (before?.state !== state) this.#arrange(running, subject, state);
    }
    const step = stepOf(before?.state ?? INACTIVE, state);
    const told = state.phase === 'inactive' ? before?.state : state;
    if (step !== undefined && told !== undefined)
      this.onStep({ condition: running.condition, subject, step, state: told, value, nowMs });
  }

  /** Goes on where another version of the rule, or another process, has stopped. */
  #resume(running: Running, subject: string, { state, value }: Active): void {
    const resumed = state.phase === 'pending' ? { ...state, dueMs: state.sinceMs + running.condition.forMs } : state;
    running.active.set(subject, { state: resumed, value });
    this.#arrange(running, subject, resumed);
    // What has come of it meanwhile is looked at first.
    if (running.condition.rule.kind === 'rate') this.#watchFrom(running, subject, 0);
  }

  #arrange(running: Running, subject: string, state: AlertState): void {
    if (state.phase === 'pending' && Number.isFinite(state.dueMs))
      this.#schedule.push({ dueMs: state.dueMs, running, subject, what: 'due' });
  }

  #hear(source: string, concerned: readonly Running[], device: string, heardMs: number, nowMs: number): void {
    if (!this.#hearing.hear(source, device, heardMs)) return;
    for (const running of concerned) {
      if (running.condition.rule.kind !== 'absence') continue;
      if (running.active.has(device) && nowMs - heardMs < running.condition.windowMs)
        this.#observe(running, device, 0, nowMs);
      this.#watch(running, device, nowMs);
    }
  }

  /** Sees to it that the silence of a device is noticed: now, or by one entry in the schedule. */
  #watch(running: Running, device: string, nowMs: number): void {
    if (running.watched.has(device)) return;
    if (running.condition.rule.kind === 'rate') this.#watchRate(running, device, nowMs);
    else if (!running.active.has(device)) this.#watchSilence(running, device, nowMs);
  }

  #watchAgain(running: Running, device: string, nowMs: number): void {
    if (running.watched.delete(device)) this.#watch(running, device, nowMs);
  }

  #watchFrom(running: Running, device: string, dueMs: number): void {
    running.watched.add(device);
    this.#schedule.push({ dueMs, running, subject: device, what: 'silence' });
  }

  #watchSilence(running: Running, device: string, nowMs: number): void {
    const { source, windowMs } = running.condition;
    const sinceMs = this.#hearing.silentSinceMs(source, device);
    if (sinceMs === undefined) return;
    const dueMs = sinceMs + windowMs;
    if (dueMs <= this.#hearing.knownUntilMs(source, nowMs)) {
      const heardMs = this.#hearing.heardMs(source, device) ?? sinceMs;
      this.#observe(running, device, (nowMs - heardMs) / 1000, nowMs);
    } else if (dueMs > nowMs) this.#watchFrom(running, device, dueMs);
    else {
      // It may have been heard: that is known with the next look.
      running.watched.add(device);
      running.overdue.add(device);
    }
  }

  /** A metric of which nothing comes does not change: its rate is over with its time. */
  #watchRate(running: Running, device: string, nowMs: number): void {
    const active = running.active.get(device);
    if (active === undefined) return;
    const { source, windowMs } = running.condition;
    const dueMs = (this.#hearing.quietSinceMs(source, device) ?? nowMs) + windowMs;
    if (dueMs > nowMs) this.#watchFrom(running, device, dueMs);
    else this.#enter(running, device, INACTIVE, null, nowMs);
  }

  #countAllLosses(nowMs: number): void {
    this.#losses.keep((device) => this.#rules.concerned('losses', device).length > 0);
    for (const running of this.#rules.all) {
      if (running.condition.source !== 'losses') continue;
      for (const device of new Set([...running.active.keys(), ...this.#losses.devices]))
        if (concerns(running.condition, device)) this.#countLosses(running, device, nowMs);
    }
  }

  #countLosses(running: Running, device: string, nowMs: number): void {
    const { windowMs, verdict } = running.condition;
    const { count, isOpen, changesAtMs } = this.#losses.count(device, windowMs, nowMs);
    // There may be more losses than are known, and never fewer.
    const isKnown = !isOpen && this.#lossesWithinMs >= windowMs;
    if (isKnown || verdict(count) === 'breached') this.#observe(running, device, count, nowMs);
    if (changesAtMs === undefined) this.#losses.prune(device, nowMs - this.#rules.longestWindowMs('losses'));
    else if (changesAtMs !== running.recounts.get(device)) {
      running.recounts.set(device, changesAtMs);
      this.#schedule.push({ dueMs: changesAtMs, running, subject: device, what: 'losses' });
    }
  }
}
