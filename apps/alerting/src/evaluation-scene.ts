import { alertRuleSchema, deviceId, type DigestReading } from '@muster/contract';
import { compile } from './condition.ts';
import { Evaluator } from './evaluator.ts';
import { FleetView, type DeviceFacts } from './fleet-view.ts';
import type { Loss } from './losses.ts';
import type { OpenState, Step } from './running-rule.ts';

/** In milliseconds. */
export const MINUTE = 60_000;
/** When a scene begins, in milliseconds since 1970. */
export const T0 = 1_800_000_000_000;

/** Longer than any rule looks back. */
const LONGEST_MS = 366 * 24 * 60 * MINUTE;

/** For tests: rules and a clock that is moved by hand; what happens is written down as `step rule subject`. */
export class EvaluationScene {
  readonly told: string[] = [];
  readonly fleet = new FleetView(MINUTE);
  readonly evaluator = new Evaluator(this.fleet, (step: Step) => {
    this.told.push(`${step.step} ${step.condition.rule.name} ${step.subject}`);
    this.last = step;
  });
  last: Step | undefined;
  nowMs = T0;
  /** Whether it can be looked at who was heard. */
  canLook = true;
  #lossId = 0n;
  #lookedMs = T0;

  constructor(...rules: readonly Record<string, unknown>[]) {
    this.rules(1, ...rules);
    this.lossHistory();
  }

  /** Losses as they are read at the start: of one device, so long before now. */
  lossHistory(device = '', ...beforeMs: readonly number[]): this {
    const losses = beforeMs.map((before) => this.loss(device, this.nowMs - before));
    this.evaluator.lossHistory(losses, this.evaluator.lossesToReadMs ?? LONGEST_MS, this.nowMs);
    return this;
  }

  loss(device: string, atMs = this.nowMs, isReplay = false): Loss {
    this.#lossId += 1n;
    return { id: this.#lossId, device, atMs, broker: 'b', isReplay };
  }

  rules(version: number, ...rules: readonly Record<string, unknown>[]): void {
    const conditions = rules.map((rule) => compile(alertRuleSchema.parse(rule), version));
    this.evaluator.setRules(conditions, this.nowMs);
  }

  /** Time passes; which devices were heard is looked at every ten seconds, unless that cannot be done. */
  wait(milliseconds: number): this {
    const untilMs = this.nowMs + milliseconds;
    for (;;) {
      const lookMs = this.canLook ? this.#lookedMs + 10_000 : Number.POSITIVE_INFINITY;
      const nextMs = Math.min(lookMs, this.evaluator.nextDueMs ?? Number.POSITIVE_INFINITY);
      if (nextMs > untilMs) break;
      this.nowMs = Math.max(this.nowMs, nextMs);
      if (this.nowMs >= lookMs) this.look();
      this.evaluator.tick(this.nowMs);
    }
    this.nowMs = untilMs;
    return this;
  }

  look(): this {
    this.#lookedMs = this.nowMs;
    this.evaluator.looked(this.nowMs, this.nowMs);
    return this;
  }

  reading(device: string, metric: string, value: DigestReading['value'], more: Partial<DigestReading> = {}): this {
    this.evaluator.readings(
      [{ device: deviceId(device), metric, value, unit: null, atMs: this.nowMs, qos: 1, late: false, ...more }],
      this.nowMs,
    );
    return this;
  }

  lastValue(device: string, metric: string, value: number, atMs = this.nowMs, heardMs = atMs): this {
    this.evaluator.lastValues([{ device: deviceId(device), metric, value, unit: null, atMs, heardMs }], this.nowMs);
    return this;
  }

  device(device: string, state: DeviceFacts['state'], more: Partial<DeviceFacts> = {}): this {
    this.evaluator.device(
      device,
      { state, sinceMs: this.nowMs, broker: 'b', wakeExpectedMs: null, ...more },
      this.nowMs,
    );
    return this;
  }

  lost(device: string, isReplay = false): this {
    this.evaluator.losses([this.loss(device, this.nowMs, isReplay)], this.nowMs);
    return this.device(device, 'lost');
  }

  /** Lost and back again, some times, some seconds apart. */
  flaps(device: string, times: number): this {
    for (let time = 0; time < times; time += 1) this.lost(device).wait(5_000).device(device, 'online').wait(5_000);
    return this;
  }

  brokerAway(): this {
    this.evaluator.broker('b', { kind: 'away', sinceMs: this.nowMs }, this.nowMs);
    return this;
  }

  brokerThere(bootedMs: number | null): this {
    this.evaluator.broker('b', { kind: 'there', connectedMs: this.nowMs, bootedMs }, this.nowMs);
    return this;
  }

  measure(source: string, subject: string, value: number): this {
    this.evaluator.measure({ source, subject, value }, this.nowMs);
    return this;
  }

  /** A new process that goes on with these alerts. */
  restarted(...open: readonly OpenState[]): readonly OpenState[] {
    return this.evaluator.restore(open);
  }
}
