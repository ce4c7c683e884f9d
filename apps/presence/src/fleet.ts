import type { DeviceId } from '@muster/contract';
import type { TombstoneSet } from '@muster/database';
import { Counter, Gauge, type Registry } from 'prom-client';
import { decide, type PresenceRecord, type StatusInput } from './presence-machine.ts';
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
        this.#records.set(device, decision.record);
        try {
          await this.store.write({ device, from: decision.from, record: decision.record });
        } catch (error) {
          // What is not on record has not happened, unless something newer has.
          if (this.#records.get(device) === decision.record) {
            if (before === undefined) this.#records.delete(device);
            else this.#records.set(device, before);
          }
          throw error;
        }
        this.#transitions.inc({ to: decision.record.state, reason: decision.record.reason });
        return;
      case 'ignored':
        this.#ignored.inc({ rule: decision.rule });
        return;
      case 'confirmed':
        return;
    }
  }

  /** Counts a message that is no status. */
  refused(reason: string): void {
    this.#refused.inc({ reason });
  }
}
