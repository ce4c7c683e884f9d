import type { DigestReading } from '@muster/contract';
import { isDataError, lastValues, presenceSnapshot, type PresenceEvent, type PrismaClient } from '@muster/database';
import type { DigestFollower } from '@muster/broker';
import { ProblemError, type Logger } from '@muster/service';
import type { ControlTopics, HeardMessage } from './control-topics.ts';
import type { DeviceBrokers } from './device-brokers.ts';
import type { Journal, Run } from './journal.ts';
import type { AutomationMetrics } from './metrics.ts';
import { timerKey, type Effect, type Reaction, type Timer } from './reaction.ts';
import type { RuleEngine } from './rule-engine.ts';
import type { RuleStore } from './rule-store.ts';
import { Runs } from './runs.ts';
import type { Schedules } from './schedules.ts';

/** A change of presence that comes later than this is news of the past. */
const STALE_AFTER_MS = 10_000;
const USE_AGAIN_MS = 5_000;
/** A timer of Node waits 24 days at most. */
const LONGEST_WAIT_MS = 20 * 86_400_000;

/** The parts that automation connects. */
export interface AutomationParts {
  readonly database: PrismaClient;
  readonly engine: RuleEngine;
  readonly rules: RuleStore;
  readonly journal: Journal;
  readonly brokers: DeviceBrokers;
  readonly metrics: AutomationMetrics;
  readonly logger: Logger;
  /** These call back, so they are made for it. */
  readonly connect: (automation: Automation) => {
    readonly topics: ControlTopics;
    readonly digest: DigestFollower;
    readonly schedules: Schedules;
  };
}

/** Connects the rules with the world: carries out what the engine decides, and keeps on record what must not be lost. */
export class Automation {
  readonly #parts: AutomationParts;
  readonly #topics: ControlTopics;
  readonly #digest: DigestFollower;
  readonly #schedules: Schedules;
  readonly #runs: Runs;
  readonly #timeouts = new Map<string, NodeJS.Timeout>();
  #changing: Promise<void> = Promise.resolve();
  #useRulesTimer: NodeJS.Timeout | undefined;
  #closing = false;

  constructor(parts: AutomationParts) {
    this.#parts = parts;
    const { topics, digest, schedules } = parts.connect(this);
    this.#topics = topics;
    this.#digest = digest;
    this.#schedules = schedules;
    this.#runs = new Runs(topics, parts.journal, parts.logger, (run) => this.#isOutdated(run));
  }

  /** Whether every broker is connected, for control topics and for the digest. */
  get ready(): boolean {
    return this.#topics.ready && this.#digest.ready;
  }

  /**
   * Takes up what was on record, then listens. Answers the change of presence behind which to follow them.
   * @throws BrokerError `subscription-refused`
   */
  async start(connectTimeoutMs: number): Promise<bigint> {
    const { engine, journal, rules, brokers } = this.#parts;
    const remembered = await journal.load();
    await brokers.load();
    engine.restore(remembered.timers, remembered.overrides);
    if (remembered.mode !== undefined) engine.setMode(remembered.mode);
    this.#drop(engine.use(await rules.inForce()));
    const position = await this.#know();
    await this.#topics.start(engine.index.topicFilters, connectTimeoutMs);
    this.#digest.want(engine.index.metrics);
    await this.#digest.start(connectTimeoutMs);
    this.#schedules.use(engine.index.rules);
    this.#runs.start(remembered.starts, remembered.runs);
    for (const timer of engine.timers.values()) this.#arm(timer);
    return position;
  }

  /** Listens no more, finishes what is under way, and leaves. */
  async close(): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#useRulesTimer);
    this.#schedules.close();
    for (const timeout of this.#timeouts.values()) clearTimeout(timeout);
    this.#runs.close();
    await this.#digest.close();
    await this.#parts.journal.close(5_000);
    await this.#topics.close(5_000);
  }

  /**
   * Rules have changed: takes those that are in force now.
   * @throws ProblemError 503 where they are on record and cannot be put in force yet; that is tried again
   */
  async rulesChanged(): Promise<void> {
    clearTimeout(this.#useRulesTimer);
    const change = this.#changing.then(() => this.#useRules());
    this.#changing = change.catch((error: unknown) => {
      const reason = error instanceof Error ? error.message : String(error);
      this.#parts.logger.error({ reason }, 'rules are on record and not in force yet; it is tried again');
      if (this.#closing) return;
      this.#useRulesTimer = setTimeout(() => void this.rulesChanged().catch(() => undefined), USE_AGAIN_MS);
    });
    await change.catch((error: unknown) => {
      const reason = error instanceof Error ? error.message : String(error);
      throw new ProblemError(503, `the change is saved and not in force yet, which is tried again: ${reason}`);
    });
  }

  /** Sets the mode in somebody's name; resolves when it is on record. */
  async setMode(mode: string, setBy: string): Promise<void> {
    await this.#parts.journal.write({ effects: [{ kind: 'mode', mode, setBy }] });
    this.#parts.engine.setMode(mode);
  }

  /** Takes a message on a control topic; resolves when what must not be lost of it is on record. */
  async message(message: HeardMessage): Promise<void> {
    const { metrics, engine, logger } = this.#parts;
    metrics.messages.inc();
    try {
      await this.#apply(engine.message(message, Date.now()), 'topic');
    } catch (error) {
      // The broker would keep it for ever, and bring it again at every start.
      if (!isDataError(error)) throw error;
      logger.error({ err: error, topic: message.topic }, 'PostgreSQL will never take what a message led to');
    }
  }

  /** Takes readings of the digest. */
  readings(readings: readonly DigestReading[], broker: string): void {
    const { engine, brokers } = this.#parts;
    for (const reading of readings) {
      brokers.heard(reading.device, broker);
      this.#applyLogged(engine.reading(reading, Date.now()), 'metric');
    }
  }

  /** Readings may have been missed: last values that are fresh count as if they had come. */
  async readingsMissed(): Promise<void> {
    const { database, engine, logger } = this.#parts;
    try {
      const nowMs = Date.now();
      for (const value of await lastValues(database, [...engine.index.metrics])) {
        const late = nowMs - value.atMs > STALE_AFTER_MS;
        await this.#apply(engine.reading({ ...value, qos: 0, late }, nowMs), 'metric');
      }
    } catch (error) {
      logger.warn({ err: error }, 'last values could not be read; rules go on with what they know');
    }
  }

  /** Takes changes of presence. */
  presence(changes: readonly PresenceEvent[]): void {
    const { engine, brokers } = this.#parts;
    brokers.take(changes);
    for (const { device, to, atMs, evidence } of changes) {
      const isLive = !evidence.retained && Date.now() - atMs <= STALE_AFTER_MS;
      this.#applyLogged(engine.presence({ device, to, isLive }, Date.now()), 'presence');
    }
  }

  /** A schedule's time has come. */
  scheduled(rule: string, trigger: number): void {
    this.#applyLogged(this.#parts.engine.scheduled(rule, trigger, Date.now()), 'schedule');
  }

  async #useRules(): Promise<void> {
    const { engine, rules } = this.#parts;
    this.#drop(engine.use(await rules.inForce()));
    this.#digest.want(engine.index.metrics);
    await this.#know();
    this.#schedules.use(engine.index.rules);
    await this.#topics.hear(engine.index.topicFilters);
  }

  /**
   * Reads in which state things are, for triggers that have heard nothing yet; nothing fires. Answers the newest change of
   * presence that is in it.
   */
  async #know(): Promise<bigint> {
    const { database, engine } = this.#parts;
    const { position, states } = await presenceSnapshot(database);
    const nowMs = Date.now();
    for (const { device, state } of states) await this.#apply(engine.knowPresence(device, state, nowMs), 'presence');
    for (const value of await lastValues(database, [...engine.index.metrics]))
      await this.#apply(engine.knowReading(value, nowMs), 'metric');
    return position;
  }

  #applyLogged(reaction: Reaction, trigger: string): void {
    this.#apply(reaction, trigger).catch((error: unknown) =>
      this.#parts.logger.error({ err: error }, 'what a rule decided could not be recorded'),
    );
  }

  /** Carries out what follows from an event at once; resolves when what must not be lost is on record. */
  async #apply(reaction: Reaction, trigger: string): Promise<void> {
    const { metrics, journal } = this.#parts;
    const { effects, timers, overrides, runs, dropped } = reaction;
    for (const { outcome } of runs) metrics.runs.inc({ outcome });
    const publications = effects.filter((effect) => effect.kind === 'publish');
    if (publications.length > 0) this.#publish(publications, trigger);
    for (const timer of timers) this.#arm(timer);
    this.#report(reaction);
    this.#drop(dropped);
    journal.note(runs);
    if (timers.length + overrides.length > 0 || publications.length < effects.length)
      await journal.write({ timers, overrides, effects: effects.filter(({ kind }) => kind !== 'publish') });
  }

  #publish(effects: readonly Extract<Effect, { kind: 'publish' }>[], trigger: string): void {
    const { metrics, logger, brokers } = this.#parts;
    const end = metrics.reactionSeconds.startTimer({ trigger });
    const addressed = effects.flatMap((effect) => this.#topics.address(effect, (device) => brokers.of(device)));
    metrics.published.inc(addressed.length);
    this.#topics.publish(addressed).then(
      () => end(),
      (error: unknown) => {
        metrics.publishFailures.inc();
        logger.warn({ err: error, topics: effects.map(({ topic }) => topic) }, 'a rule could not publish');
      },
    );
  }

  /** Tells people of rules that do not go on. */
  #report({ stops, rests }: Reaction): void {
    const { logger, journal } = this.#parts;
    if (stops.length + rests.length === 0) return;
    for (const { rule, reason } of stops)
      logger.error({ rule, reason }, 'a rule was stopped; "muster rule enable" lets it run again');
    for (const { rule, reason } of rests) logger.warn({ rule, reason }, 'a rule rests');
    const notice = (rule: string, subject: string, text: string): Effect => ({
      ...{ kind: 'notify', rule, subject, severity: 'warning', text },
    });
    const effects = [
      ...stops.map(({ rule, reason }) => notice(rule, '', `The rule ${rule} was stopped: ${reason}`)),
      ...rests.map(({ rule, subject, reason }) => notice(rule, subject, `The rule ${rule} rests: ${reason}`)),
    ];
    journal
      .write({ stops, effects })
      .catch((error: unknown) => logger.error({ err: error }, 'that a rule does not go on is not on record'));
  }

  #arm(timer: Timer): void {
    const key = timerKey(timer);
    clearTimeout(this.#timeouts.get(key));
    this.#timeouts.delete(key);
    if (timer.state !== 'armed' || this.#closing) return;
    const waitMs = Math.min(Math.max(0, timer.dueMs - Date.now()), LONGEST_WAIT_MS);
    this.#timeouts.set(
      key,
      setTimeout(() => this.#due(key), waitMs),
    );
  }

  #due(key: string): void {
    this.#timeouts.delete(key);
    const { engine, logger } = this.#parts;
    const timer = engine.timers.get(key);
    const reaction = engine.due(key, Date.now());
    if (timer === undefined) return;
    // A timer of Node may be early by a millisecond, or have been cut short because it cannot wait so long.
    if (reaction === undefined) this.#arm(timer);
    else
      this.#carryOut(timer, reaction).catch((error: unknown) =>
        logger.error({ err: error, rule: timer.rule }, 'what was due could not be carried out; the next start does'),
      );
  }

  /** What was due: first on record, then done, then off the record. */
  async #carryOut(timer: Timer, reaction: Reaction): Promise<void> {
    const { engine, journal, metrics, brokers } = this.#parts;
    const { effects, timers, runs, overrides } = reaction;
    for (const { outcome } of runs) metrics.runs.inc({ outcome });
    journal.note(runs);
    this.#report(reaction);
    this.#drop(reaction.dropped);
    const publications = effects
      .filter((effect) => effect.kind === 'publish')
      .flatMap((effect) => this.#topics.address(effect, (device) => brokers.of(device)));
    const { rule, subject, trigger } = timer;
    const run: Run = {
      ...{ number: this.#runs.nextNumber(), rule, part: timer.part, subject, trigger },
      effects: publications,
    };
    const now = engine.timers.get(timerKey(timer));
    await journal.write({
      timers: now === undefined ? timers : [now, ...timers],
      dropped: now === undefined ? [timer] : [],
      overrides,
      effects: effects.filter(({ kind }) => kind !== 'publish'),
      begun: publications.length === 0 ? [] : [run],
    });
    for (const one of timers) this.#arm(one);
    if (publications.length === 0) return;
    metrics.published.inc(publications.length);
    await this.#runs.carryOut(run);
  }

  /** What became due and could not be told until now is over where what it waited for has begun or ended anew. */
  #isOutdated({ rule, part, subject }: Run): boolean {
    const timer = this.#parts.engine.timers.get(timerKey({ rule, part, subject }));
    return timer !== undefined && timer.state !== 'done';
  }

  #drop(timers: readonly Timer[]): void {
    for (const timer of timers) {
      const key = timerKey(timer);
      clearTimeout(this.#timeouts.get(key));
      this.#timeouts.delete(key);
    }
    if (timers.length === 0) return;
    this.#parts.journal
      .write({ dropped: timers })
      .catch((error: unknown) => this.#parts.logger.warn({ err: error }, 'timers of changed rules were not removed'));
  }
}
