import { WildcardIndex, type Captures } from '@muster/contract';
import type { CompiledRule, CompiledTrigger } from './compiled-rule.ts';
import { TopicIndex } from './topic-index.ts';

/** The rules in force, found by what may concern them: a look costs nothing for all those that it does not. */
export class RuleIndex {
  readonly #rules: ReadonlyMap<string, CompiledRule>;
  readonly #topics = new TopicIndex<CompiledTrigger>();
  readonly #overrideTopics = new TopicIndex<CompiledRule>();
  readonly #metrics = new Map<string, WildcardIndex<CompiledTrigger>>();
  readonly #presence = new WildcardIndex<CompiledTrigger>();

  constructor(rules: readonly CompiledRule[]) {
    this.#rules = new Map(rules.map((compiled) => [compiled.rule.id, compiled]));
    for (const compiled of rules) {
      if (compiled.rule.override !== undefined) this.#overrideTopics.add(compiled.rule.override.topic, compiled);
      for (const trigger of compiled.triggers) this.#add(trigger);
    }
  }

  /** All rules. */
  get rules(): readonly CompiledRule[] {
    return [...this.#rules.values()];
  }

  /** MQTT filters of every topic that some rule names. */
  get topicFilters(): readonly string[] {
    const filters = this.rules.flatMap(({ rule }) => [
      ...rule.triggers.flatMap((trigger) => (trigger.kind === 'topic' ? [trigger.topic.filter] : [])),
      ...(rule.override === undefined ? [] : [rule.override.topic.filter]),
    ]);
    return [...new Set(filters)].sort();
  }

  /** Metrics that some rule needs to hear of. */
  get metrics(): ReadonlySet<string> {
    return new Set(this.rules.flatMap(({ metrics }) => [...metrics]));
  }

  /** The rule of an id. */
  rule(id: string): CompiledRule | undefined {
    return this.#rules.get(id);
  }

  /** Triggers on a topic. */
  onTopic(topic: string): readonly { readonly entry: CompiledTrigger; readonly captures: Captures }[] {
    return this.#topics.matches(topic);
  }

  /** Rules that a message on a topic overrides. */
  overriddenBy(topic: string): readonly { readonly entry: CompiledRule; readonly captures: Captures }[] {
    return this.#overrideTopics.matches(topic);
  }

  /** Triggers on a metric of a device. */
  onMetric(metric: string, device: string): readonly CompiledTrigger[] {
    return this.#metrics.get(metric)?.matches(device) ?? [];
  }

  /** Triggers on the presence of a device. */
  onPresence(device: string): readonly CompiledTrigger[] {
    return this.#presence.matches(device);
  }

  #add(trigger: CompiledTrigger): void {
    switch (trigger.trigger.kind) {
      case 'topic':
        this.#topics.add(trigger.trigger.topic, trigger);
        break;
      case 'metric': {
        const { metric, device } = trigger.trigger;
        const ofMetric = this.#metrics.get(metric) ?? new WildcardIndex<CompiledTrigger>();
        this.#metrics.set(metric, ofMetric);
        ofMetric.add([device], trigger);
        break;
      }
      case 'presence':
        this.#presence.add([trigger.trigger.device], trigger);
        break;
      case 'schedule':
      case 'sun':
        break;
    }
  }
}
