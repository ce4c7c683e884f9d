import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** What automation counts. */
export class AutomationMetrics {
  readonly messages: Counter;
  readonly runs: Counter<'outcome'>;
  readonly published: Counter;
  readonly publishFailures: Counter;
  readonly reactionSeconds: Histogram<'trigger'>;

  constructor(registry: Registry, timers: () => number, rules: () => number) {
    const registers = [registry];
    this.messages = new Counter({
      name: 'muster_automation_messages_total',
      help: 'Messages on control topics',
      registers,
    });
    this.runs = new Counter({
      name: 'muster_automation_runs_total',
      help: 'Times that a rule fired, by what came of it',
      labelNames: ['outcome'],
      registers,
    });
    this.published = new Counter({
      name: 'muster_automation_published_total',
      help: 'Messages that rules published',
      registers,
    });
    this.publishFailures = new Counter({
      name: 'muster_automation_publish_failures_total',
      help: 'Messages that a broker did not take',
      registers,
    });
    this.reactionSeconds = new Histogram({
      name: 'muster_automation_reaction_seconds',
      help: 'From the receipt of what fired a rule to the acknowledgement of what it published',
      labelNames: ['trigger'],
      buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1, 5],
      registers,
    });
    const gauge = (name: string, help: string, value: () => number): Gauge =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(value());
        },
      });
    gauge('muster_automation_timers', 'Timers that run', timers);
    gauge('muster_automation_rules', 'Rules in force', rules);
  }
}
