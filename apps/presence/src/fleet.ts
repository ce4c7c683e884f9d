import type { DeviceId } from '@muster/contract';
import type { TombstoneSet } from '@muster/database';
import AsyncLock from 'async-lock';
import type { BrokerVerdict } from './broker-condition.ts';
import { interrupt, restore, returnDueAtMs } from './broker-outage.ts';
import type { Brokers } from './brokers.ts';
import { flagsOf, moveOf, MOVES_WINDOW_MS, movesOf, recentMoves, type Move } from './flags.ts';
import type { PresenceMetrics } from './metrics.ts';
import { decide, type StatusInput } from './presence-machine.ts';
import type { Change, Decision, PresenceRecord, RaisedFlag } from './presence-record.ts';
import type { Declared, PresenceStore, StoredActivity } from './presence-store.ts';
import type { Reassertion } from './reassertion.ts';
import {
  heard,
  isWorthKeeping,
  learn,
  learnedIntervalMs,
  overdue,
  silent,
  type Attention,
  type Rhythm,
} from './silence.ts';

/** What the presence of a fleet is made of. */
export interface FleetParts {
  readonly store: PresenceStore;
  readonly brokers: Brokers;
  readonly tombstones: TombstoneSet;
  readonly reassertion: Reassertion;
  readonly metrics: PresenceMetrics;
}

/** A decision whose effect may still be on its way to PostgreSQL. */
interface Decided {
  readonly committed: Promise<void>;
}

const NOTHING_TO_COMMIT: Decided = { committed: Promise.resolve() };

/** The presence of every device, in memory and in PostgreSQL. */
export class Fleet {
  readonly #records = new Map<string, PresenceRecord>();
  readonly #rhythms = new Map<string, Rhythm>();
  readonly #declared = new Map<string, Declared>();
  /** Comings and goings that still count; only of devices that have any. */
  readonly #moves = new Map<string, readonly Move[]>();
  /** Messages of one topic are decided one after the other. */
  readonly #turns = new AsyncLock({ maxPending: Number.POSITIVE_INFINITY });
  readonly #parts: FleetParts;

  constructor(parts: FleetParts) {
    this.#parts = parts;
    parts.metrics.observe(() => this.#records.values());
  }

  /** Reads the presence that was written before, and who has come and gone of late. */
  async load(nowMs: number): Promise<void> {
    const { store } = this.#parts;
    for (const [device, record] of await store.load()) this.#records.set(device, record);
    for (const [device, transitions] of await store.transitionsSince(nowMs - MOVES_WINDOW_MS))
      this.#moves.set(device, recentMoves(movesOf(transitions), undefined, nowMs));
  }

  /** Brokers at which devices were heard last. */
  get brokers(): ReadonlySet<string> {
    return new Set([...this.#records.values()].map(({ evidence }) => evidence.broker));
  }

  /** How a device stands. */
  record(device: string): PresenceRecord | undefined {
    return this.#records.get(device);
  }

  /**
   * Applies a status message; resolves when its effect is committed. Messages of one topic are decided one after the
   * other, and none waits for what an earlier one is to write.
   * @param isLive whether it was said now: not retained, and not what had waited at the broker
   */
  async take(device: DeviceId, input: StatusInput, isLive: boolean): Promise<void> {
    const decide = async (): Promise<Decided> => this.#decide(device, input, isLive);
    const { committed } = await this.#turns.acquire(`${input.broker} ${input.topic}`, decide);
    await committed;
  }

  async #decide(device: DeviceId, input: StatusInput, isLive: boolean): Promise<Decided> {
    const { tombstones, metrics, brokers, reassertion } = this.#parts;
    await brokers.whenJudged(input.broker);
    if (input.message.kind === 'will' && isLive && isConnected(this.#records.get(device)))
      await brokers.whenBelieved(input.broker, input.receivedAtMs);
    if (tombstones.has(device)) {
      this.#forget(device);
      metrics.ignored.inc({ rule: 'tombstoned' });
      return NOTHING_TO_COMMIT;
    }
    const before = this.#records.get(device);
    const decision = isLive ? this.#flagged(device, before, decide(before, input), input) : decide(before, input);
    if (decision.kind === 'ignored') metrics.ignored.inc({ rule: decision.rule });
    if (isLive) reassertion.told(device, before, input, decision);
    if (decision.kind === 'ignored' || decision.kind === 'confirmed') return NOTHING_TO_COMMIT;
    return { committed: this.#apply(device, before, decision) };
  }

  /** Takes what ingestion has heard: who sends is there, and how often it sends is learned. */
  async heard(activities: readonly StoredActivity[], nowMs: number): Promise<void> {
    await this.#applyAll(
      activities.flatMap((activity) => {
        const { device, heardAtMs, broker } = activity;
        const before = this.#records.get(device);
        const known = this.#rhythms.get(device);
        if (before === undefined || known?.messages === activity.messages) return [];
        const rhythm = learn(known, activity, before.sinceMs);
        this.#rhythms.set(device, rhythm);
        // What was heard before this process began is no news, except of those that are not there.
        const change = heard(before, heardAtMs, broker, nowMs);
        if (change !== undefined) return [{ device, before, change }];
        const learnedMs = learnedIntervalMs(rhythm);
        if (!isWorthKeeping(before.learnedIntervalMs, learnedMs)) return [];
        const record = { ...before, learnedIntervalMs: learnedMs };
        return [{ device, before, change: { kind: 'renewed' as const, record } }];
      }),
    );
  }

  /** Takes what devices say about their own habits. */
  declare(declarations: ReadonlyMap<string, Declared>): void {
    for (const [device, declared] of declarations) this.#declared.set(device, declared);
  }

  /**
   * Looks who has been silent for too long; resolves when what follows is committed.
   * @param hearingSinceMs since when a device at a broker would be heard, wherever it is; undefined while it might not be
   * @param attention how ingestion listens to each broker
   */
  async look(
    nowMs: number,
    hearingSinceMs: (broker: string) => number | undefined,
    attention: ReadonlyMap<string, Attention>,
  ): Promise<void> {
    const changes: Pending[] = [];
    for (const [device, before] of this.#records) {
      if (this.#parts.tombstones.has(device)) {
        this.#forget(device);
        continue;
      }
      const change =
        overdue(before, nowMs, hearingSinceMs(before.evidence.broker)) ??
        this.#silent(device, before, attention, nowMs) ??
        this.#calmed(device, before, nowMs);
      if (change !== undefined) changes.push({ device: device as DeviceId, before, change });
    }
    await this.#applyAll(changes);
  }

  /** Takes what has become of a broker; its devices stand so at once, and answers how many are concerned. */
  verdict(
    broker: string,
    verdict: BrokerVerdict,
    nowMs: number,
  ): { readonly count: number; readonly done: Promise<void> } {
    const changes: Pending[] = [];
    if (verdict.kind !== 'back') {
      for (const [device, before] of this.#records) {
        const keepAlive = this.#declared.get(device)?.keepAliveSeconds;
        const dueAtMs = verdict.kind === 'restarted' ? returnDueAtMs(nowMs, keepAlive) : null;
        const change = interrupt(before, { broker, ...verdict }, nowMs, dueAtMs);
        if (change !== undefined) changes.push({ device: device as DeviceId, before, change });
      }
    }
    return { count: changes.length, done: this.#applyAll(changes) };
  }

  /** A broker has run all the time, and all that waited there has been taken: who was not named is what it was. */
  async restore(broker: string, nowMs: number): Promise<void> {
    await this.#applyAll(
      [...this.#records].flatMap(([device, before]) => {
        if (before.reason !== 'broker-lost') return [];
        const change = restore(before, broker, nowMs);
        return change === undefined ? [] : [{ device: device as DeviceId, before, change }];
      }),
    );
  }

  /** A broker that a device has left retains its status in our words. */
  async mirrored(device: DeviceId, broker: string): Promise<void> {
    const before = this.#records.get(device);
    if (before === undefined || before.mirrors.includes(broker)) return;
    const record = { ...before, mirrors: [...before.mirrors, broker] };
    await this.#applyAll([{ device, before, change: { kind: 'renewed', record } }]);
  }

  /** How many devices are not known again since their broker was lost. */
  interrupted(broker: string): number {
    let count = 0;
    for (const { interrupted, evidence } of this.#records.values())
      if (interrupted !== null && evidence.broker === broker) count += 1;
    return count;
  }

  /** Devices behind a broker that did not come back since a time. */
  lostSince(broker: string, sinceMs: number): number {
    let count = 0;
    for (const { state, evidence, sinceMs: atMs } of this.#records.values())
      if (state === 'lost' && evidence.broker === broker && atMs >= sinceMs) count += 1;
    return count;
  }

  #silent(
    device: string,
    before: PresenceRecord,
    attention: ReadonlyMap<string, Attention>,
    nowMs: number,
  ): Change | undefined {
    const rhythm = this.#rhythms.get(device);
    if (rhythm === undefined) return undefined;
    const declaredMs = this.#declared.get(device)?.intervalMs;
    return silent(before, rhythm, attention.get(before.evidence.broker), declaredMs, nowMs);
  }

  /** Flags that nothing supports any more go. */
  #calmed(device: string, before: PresenceRecord, nowMs: number): Change | undefined {
    const known = this.#moves.get(device);
    const [oldest] = known ?? [];
    const isOver = oldest !== undefined && oldest.atMs <= nowMs - MOVES_WINDOW_MS;
    if (!isOver && before.flags.length === 0) return undefined;
    const moves = recentMoves(known ?? [], undefined, nowMs);
    if (moves.length === 0) this.#moves.delete(device);
    else this.#moves.set(device, moves);
    const flags = flagsOf(before.flags, moves, nowMs);
    return isSame(flags, before.flags) ? undefined : { kind: 'renewed', record: { ...before, flags } };
  }

  /** The decision with the flags that the message raises. */
  #flagged(
    device: string,
    before: PresenceRecord | undefined,
    decision: Decision,
    { message: { kind, session }, receivedAtMs }: StatusInput,
  ): Decision {
    const move = moveOf(before, { isBirth: kind === 'birth', session, receivedAtMs });
    const isMove = decision.kind === 'changed' || (decision.kind !== 'ignored' && move.isTakeover);
    if (!isMove) return decision;
    const moves = recentMoves(this.#moves.get(device) ?? [], move, receivedAtMs);
    this.#moves.set(device, moves);
    const record = decision.kind === 'confirmed' ? before : decision.record;
    if (record === undefined) return decision;
    const flags = flagsOf(record.flags, moves, receivedAtMs);
    if (isSame(flags, record.flags)) return decision;
    return decision.kind === 'changed'
      ? { ...decision, record: { ...record, flags } }
      : { kind: 'renewed', record: { ...record, flags } };
  }

  async #applyAll(changes: readonly Pending[]): Promise<void> {
    const { tombstones } = this.#parts;
    await Promise.all(
      changes.map(async ({ device, before, change }) => {
        if (tombstones.has(device)) this.#forget(device);
        else await this.#apply(device, before, change);
      }),
    );
  }

  async #apply(device: DeviceId, before: PresenceRecord | undefined, change: Change): Promise<void> {
    const { record } = change;
    const from = change.kind === 'changed' ? change.from : undefined;
    this.#records.set(device, record);
    try {
      await this.#parts.store.write({ device, from, isNew: before === undefined, record });
    } catch (error) {
      // What is not on record has not happened, unless something newer has.
      if (this.#records.get(device) === record) {
        if (before === undefined) this.#records.delete(device);
        else this.#records.set(device, before);
      }
      throw error;
    }
    if (from !== undefined) this.#parts.metrics.transitions.inc({ to: record.state, reason: record.reason });
  }

  #forget(device: string): void {
    for (const known of [this.#records, this.#rhythms, this.#declared, this.#moves]) known.delete(device);
  }
}

function isConnected(record: PresenceRecord | undefined): boolean {
  return record?.state === 'online' || record?.state === 'stale';
}

interface Pending {
  readonly device: DeviceId;
  readonly before: PresenceRecord;
  readonly change: Change;
}

function isSame(left: readonly RaisedFlag[], right: readonly RaisedFlag[]): boolean {
  return left.length === right.length && left.every(({ flag }, at) => flag === right[at]?.flag);
}
