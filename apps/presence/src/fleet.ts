import type { DeviceId } from '@muster/contract';
import type { TombstoneSet } from '@muster/database';
import { Counter, Gauge, type Registry } from 'prom-client';
import { decide, overdue, type Decision, type PresenceRecord, type StatusInput } from './presence-machine.ts';
import type { PresenceStore } from './presence-store.ts';

/** The presence of every device, in memory and in PostgreSQL. */
export class Fleet {
  readonly #records = new Map<string, PresenceRecord>();
  readonly #transitions: Counter<'to' | 'reason'>;
  readonly #ignored: Counter<'rule'>;
  readonly #refused: Counter<'reason'>;

  constructor(
    private readonly store: PresenceStore,
    private readonly tombstones: TombstoneSet,
    metrics: Registry,
  ) {
    const registers = [metrics];
    this.#transitions = new Counter({
      name: 'muster_presence_transitions_total',
      help: 'Changes of presence',
      labelNames: ['to', 'reason'],
      registers,
    });
    this.#ignored = new Counter({
      name: 'muster_presence_ignored_total',
      help: 'Status messages that a rule left without effect',
      labelNames: ['rule'],
      registers,
    });
    this.#refused = new Counter({
      name: 'muster_presence_refused_total',
      help: 'Messages on status topics that are no status',
      labelNames: ['reason'],
      registers,
    });
    const records = this.#records;
    new Gauge({
      name: 'muster_presence_devices',
      help: 'Devices by presence state',
      labelNames: ['state'],
      registers,
      collect() {
        this.reset();
        for (const { state } of records.values()) this.inc({ state });
      },
    });
  }

  /** Reads the presence that was written before. */
  async load(): Promise<void> {
    for (const [device, record] of await this.store.load()) this.#records.set(device, record);
  }

  /** Applies a status message; resolves when its effect is committed. */
  async take(device: DeviceId, input: StatusInput): Promise<void> {
    if (this.tombstones.has(device)) {
      this.#records.delete(device);
      this.#ignored.inc({ rule: 'tombstoned' });
      return;
    }
    const before = this.#records.get(device);
    const decision = decide(before, input);
    switch (decision.kind) {
      case 'changed':
      case 'renewed':
        await this.#apply(device, before, decision);
        return;
      case 'ignored':
        this.#ignored.inc({ rule: decision.rule });
        return;
      case 'confirmed':
        return;
    }
  }

  /**
   * Looks who has been silent for too long; resolves when what follows is committed.
   * @param hearingSinceMs since when every broker is heard; undefined while one is not
   */
  async look(nowMs: number, hearingSinceMs: number | undefined): Promise<void> {
    const late = [...this.#records].flatMap(([device, before]) => {
      if (this.tombstones.has(device)) return [];
      const decision = overdue(before, nowMs, hearingSinceMs);
      return decision === undefined ? [] : [this.#apply(device as DeviceId, before, decision)];
    });
    await Promise.all(late);
  }

  async #apply(
    device: DeviceId,
    before: PresenceRecord | undefined,
    decision: Extract<Decision, { kind: 'changed' | 'renewed' }>,
  ): Promise<void> {
    const { record } = decision;
    const from = decision.kind === 'changed' ? decision.from : undefined;
    this.#records.set(device, record);
    try {
      await this.store.write({ device, from, record });
    } catch (error) {
      // What is not on record has not happened, unless something newer has.
      if (this.#records.get(device) === record) {
        if (before === undefined) this.#records.delete(device);
        else this.#records.set(device, before);
      }
      throw error;
    }
    if (from !== undefined) this.#transitions.inc({ to: record.state, reason: record.reason });
  }

  /** Counts a message that is no status. */
  refused(reason: string): void {
    this.#refused.inc({ reason });
  }
}
