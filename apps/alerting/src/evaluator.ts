import { WildcardIndex, type DigestReading } from '@muster/contract';
import type { LastValue } from '@muster/database';
import TinyQueue from 'tinyqueue';
import { elapse, INACTIVE, observe, stepOf, type AlertState } from './alert-machine.ts';
import { concerns, presenceValue, readingSource, type Condition } from './condition.ts';
import { SETTLE_MS, type BrokerCondition, type DeviceFacts, type FleetView } from './fleet-view.ts';
import { LossHistory, type Loss } from './losses.ts';
import {
  endOf,
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
const RECENT_MS = 10 * 60_000;

/**
 * Where every rule stands with every subject. Observations find the rules that they concern by an index, so those that
 * do not match cost nothing; what is due later stands in one queue.
 */
export class Evaluator {
  readonly #running = new Map<string, Running>();
  /** Rules by what they look at, and by whom they concern. */
  #bySource = new Map<string, WildcardIndex<Running>>();
  #absences = new WildcardIndex<Running>();
  readonly #schedule = new TinyQueue<Appointment>([], (one, other) => one.dueMs - other.dueMs);
  /** By source, when each device was heard: by our clock, and by its own. */
  readonly #heard = new Map<string, Map<string, number>>();
  readonly #newest = new Map<string, Map<string, number>>();
  readonly #losses: LossHistory;
  /** How far back losses are known, from when they were read. */
  #lossesWithinMs = 0;

  constructor(
    private readonly fleet: FleetView,
    private readonly onStep: (step: Step) => void,
  ) {
    this.#losses = new LossHistory((loss) => fleet.lossCountsFromMs(loss));
  }

  /** The metrics that rules look at. */
  get metrics(): ReadonlySet<string> {
    return new Set(
      [...this.#running.values()].flatMap(({ condition: { rule } }) =>
        'metric' in rule && rule.metric !== undefined ? [rule.metric] : [],
      ),
    );
  }

  /** The longest time over which a rule counts losses; 0 where none does. */
  get lossesWithinMs(): number {
    const flapping = [...this.#running.values()].filter(({ condition }) => condition.source === 'losses');
    return Math.max(0, ...flapping.map(({ condition }) => condition.windowMs));
  }

  /** Whether rules count losses over a longer time than is known. */
  get lacksLosses(): boolean {
    return this.#lossesWithinMs < this.lossesWithinMs;
  }

  /** Whether a rule looks at a source. */
  uses(source: string): boolean {
    return this.#bySource.has(source);
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
    const before = new Map(this.#running);
    this.#running.clear();
    for (const condition of conditions) {
      const { name } = condition.rule;
      const old = before.get(name);
      if (old?.condition.version === condition.version) {
        this.#running.set(name, old);
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
      this.#running.set(name, fresh);
    }
    for (const old of before.values()) {
      old.isRemoved = true;
      for (const [subject, { state, value }] of old.active)
        this.onStep({ condition: old.condition, subject, step: endOf(state), state, value, nowMs });
    }
    this.#bySource = new Map();
    this.#absences = new WildcardIndex();
    for (const running of this.#running.values()) {
      const { source, subjects, rule } = running.condition;
      const ofSource = this.#bySource.get(source) ?? new WildcardIndex<Running>();
      this.#bySource.set(source, ofSource);
      ofSource.add(subjects, running);
      if (rule.kind === 'absence') this.#absences.add(subjects, running);
    }
    for (const source of this.#heard.keys()) if (!this.#bySource.has(source)) this.#heard.delete(source);
    for (const source of this.#newest.keys()) if (!this.#bySource.has(source)) this.#newest.delete(source);
    // What no rule looked at any more has been forgotten.
    this.#lossesWithinMs = Math.min(this.#lossesWithinMs, this.lossesWithinMs);
    this.#countAllLosses(nowMs);
  }

  /** Goes on with alerts that were open; answers those whose rule is gone. */
  restore(open: readonly OpenState[]): readonly OpenState[] {
    return open.filter(({ rule, subject, sinceMs, startedMs, value }) => {
      const running = this.#running.get(rule);
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
      const concerned = this.#concerned(source, device);
      if (concerned.length === 0) continue;
      this.#hear(source, concerned, device, nowMs, nowMs);
      if (late || typeof value === 'string') continue;
      mapOf(this.#newest, source).set(device, atMs);
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
      const concerned = this.#concerned(source, device);
      if (concerned.length === 0) continue;
      this.#hear(source, concerned, device, Math.min(heardMs, nowMs), nowMs);
      const newest = mapOf(this.#newest, source);
      const known = newest.get(device);
      if (typeof value === 'string' || (known !== undefined && atMs <= known)) continue;
      newest.set(device, atMs);
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
    const concerned = this.#concerned('heard', device);
    if (concerned.length > 0) this.#hear('heard', concerned, device, heardMs, nowMs);
  }

  /** Takes what is known of a device now. */
  device(device: string, facts: DeviceFacts, nowMs: number): void {
    this.fleet.setDevice(device, facts);
    for (const running of this.#concerned('presence', device))
      this.#observe(running, device, presenceValue(running.condition.rule, facts.state), nowMs);
    for (const running of this.#absences.matches(device)) {
      // Its goodbye says why it is silent.
      if (facts.state === 'offline' && running.active.has(device)) this.#observe(running, device, 0, nowMs);
      this.#watch(running, device, nowMs);
    }
  }

  /** Takes losses as they come. */
  losses(losses: readonly Loss[], nowMs: number): void {
    for (const loss of losses) this.#losses.add(loss);
    for (const device of new Set(losses.map((loss) => loss.device)))
      for (const running of this.#concerned('losses', device)) this.#countLosses(running, device, nowMs);
  }

  /**
   * Takes all losses of a time: at the start, and for new rules. Those that are known already count once.
   * @param withinMs how far back they go; as far as {@link lossesWithinMs}, or counts stay unknown
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
      for (const running of this.#absences.matches(device)) this.#watch(running, device, nowMs);
      for (const running of this.#concerned('presence', device))
        if (running.active.get(device)?.state.phase === 'pending') this.#observe(running, device, 1, nowMs);
    }
    // What was its own doing is known now, and what was not is no longer held back.
    if (condition.kind === 'there') this.#countAllLosses(nowMs);
  }

  /** Takes a measurement of something that is no device. */
  measure({ source, subject, value }: Measurement, nowMs: number): void {
    for (const running of this.#concerned(source, subject)) {
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
    for (const heard of [...this.#heard.values(), ...this.#newest.values()]) heard.delete(device);
    this.#losses.forget(device);
    for (const running of this.#running.values()) {
      const active = running.active.get(device);
      for (const remembered of [running.active, running.rates, running.recounts]) remembered.delete(device);
      running.watched.delete(device);
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
      } else if (what === 'silence') {
        if (running.watched.delete(subject)) this.#watch(running, subject, nowMs);
      } else {
        const active = running.active.get(subject);
        if (active !== undefined) this.#enter(running, subject, elapse(active.state, nowMs), active.value, nowMs);
      }
    }
  }

  #concerned(source: string, subject: string): readonly Running[] {
    return this.#bySource.get(source)?.matches(subject) ?? [];
  }

  #reading(running: Running, device: string, value: number, atMs: number, nowMs: number): void {
    const { rule, windowMs } = running.condition;
    if (rule.kind === 'threshold') this.#observe(running, device, value, nowMs);
    if (rule.kind !== 'rate') return;
    const window = running.rates.get(device) ?? new RateWindow(windowMs);
    running.rates.set(device, window);
    const rate = window.add(value, atMs);
    if (rate !== undefined) this.#observe(running, device, rate, nowMs);
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
  }

  #arrange(running: Running, subject: string, state: AlertState): void {
    if (state.phase === 'pending' && Number.isFinite(state.dueMs))
      this.#schedule.push({ dueMs: state.dueMs, running, subject, what: 'due' });
  }

  #hear(source: string, concerned: readonly Running[], device: string, heardMs: number, nowMs: number): void {
    const heard = mapOf(this.#heard, source);
    if ((heard.get(device) ?? 0) >= heardMs) return;
    heard.set(device, heardMs);
    for (const running of concerned) {
      if (running.condition.rule.kind !== 'absence') continue;
      if (running.active.has(device) && nowMs - heardMs < running.condition.windowMs)
        this.#observe(running, device, 0, nowMs);
      if (!running.watched.has(device)) this.#watch(running, device, nowMs);
    }
  }

  /** Sees to it that the silence of a device is noticed: now, or by one entry in the schedule. */
  #watch(running: Running, device: string, nowMs: number): void {
    const { source, windowMs } = running.condition;
    const heardMs = this.#heard.get(source)?.get(device);
    if (heardMs === undefined || running.watched.has(device) || running.active.has(device)) return;
    const sinceMs = this.fleet.silentSinceMs(device, heardMs);
    if (sinceMs === undefined) return;
    if (sinceMs + windowMs <= nowMs) {
      this.#observe(running, device, (nowMs - heardMs) / 1000, nowMs);
      return;
    }
    running.watched.add(device);
    this.#schedule.push({ dueMs: sinceMs + windowMs, running, subject: device, what: 'silence' });
  }

  #countAllLosses(nowMs: number): void {
    for (const running of this.#running.values()) {
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
    if (changesAtMs === undefined) this.#losses.prune(device, nowMs - this.lossesWithinMs);
    else if (changesAtMs !== running.recounts.get(device)) {
      running.recounts.set(device, changesAtMs);
      this.#schedule.push({ dueMs: changesAtMs, running, subject: device, what: 'losses' });
    }
  }
}

function mapOf(maps: Map<string, Map<string, number>>, key: string): Map<string, number> {
  const known = maps.get(key);
  if (known !== undefined) return known;
  const made = new Map<string, number>();
  maps.set(key, made);
  return made;
}
