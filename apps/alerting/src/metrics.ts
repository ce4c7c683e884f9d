import { Counter, Gauge, type Registry } from 'prom-client';
import type { AlertRecord } from './alert-record.ts';
import type { OutboxMetrics } from './outbox.ts';

/** What alerting counts; open alerts are counted when they are asked for. */
export function alertingMetrics(registry: Registry, open: () => Iterable<AlertRecord>): OutboxMetrics {
  const registers = [registry];
  new Gauge({
    name: 'muster_alerting_alerts',
    help: 'Alerts that are open, by rule and state',
    labelNames: ['rule', 'state'],
    registers,
    collect() {
      this.reset();
      for (const { rule, state } of open()) this.inc({ rule, state });
    },
  });
  return {
    deliveries: new Counter({
      name: 'muster_alerting_deliveries_total',
      help: 'Attempts to tell receivers, by outcome',
      labelNames: ['receiver', 'outcome'],
      registers,
    }),
    waiting: new Gauge({
      name: 'muster_alerting_notifications_waiting',
      help: 'Notifications that receivers have not taken yet',
      labelNames: ['receiver'],
      registers,
    }),
  };
}
