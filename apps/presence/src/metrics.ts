import { Counter, Gauge, type Registry } from 'prom-client';
import type { PresenceRecord } from './presence-record.ts';

/** What presence counts. */
export class PresenceMetrics {
  readonly transitions: Counter<'to' | 'reason'>;
  readonly ignored: Counter<'rule'>;
  readonly refused: Counter<'reason'>;
  readonly reasserted: Counter<'broker'>;
  #records: () => Iterable<PresenceRecord> = () => [];

  constructor(registry: Registry, isActive: () => boolean) {
    const registers = [registry];
    this.transitions = new Counter({
      name: 'muster_presence_transitions_total',
      help: 'Changes of presence',
      labelNames: ['to', 'reason'],
      registers,
    });
    this.ignored = new Counter({
      name: 'muster_presence_ignored_total',
      help: 'Status messages that a rule left without effect',
      labelNames: ['rule'],
      registers,
    });
    this.refused = new Counter({
      name: 'muster_presence_refused_total',
      help: 'Messages on status topics that are no status',
      labelNames: ['reason'],
      registers,
    });
    this.reasserted = new Counter({
      name: 'muster_presence_reasserted_total',
      help: 'Retained statuses that brokers were told anew because they were those of an older session',
      labelNames: ['broker'],
      registers,
    });
    const records = (): Iterable<PresenceRecord> => this.#records();
    new Gauge({
      name: 'muster_presence_devices',
      help: 'Devices by presence state',
      labelNames: ['state'],
      registers,
      collect() {
        this.reset();
        for (const { state } of records()) this.inc({ state });
      },
    });
    new Gauge({
      name: 'muster_presence_flagged',
      help: 'Devices that are flapping, or share their client id with another one',
      labelNames: ['flag'],
      registers,
      collect() {
        this.reset();
        for (const { flags } of records()) for (const { flag } of flags) this.inc({ flag });
      },
    });
    new Gauge({
      name: 'muster_presence_active',
      help: '1 for the process that decides, 0 for one that stands by',
      registers,
      collect() {
        this.set(isActive() ? 1 : 0);
      },
    });
  }

  /** Says where the records are that gauges count. */
  observe(records: () => Iterable<PresenceRecord>): void {
    this.#records = records;
  }
}
