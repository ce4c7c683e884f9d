import { isDeepStrictEqual } from 'node:util';
import { alertRuleSchema, type AlertRule, type AlertRuleChanges, type AlertRuleVersions } from '@muster/contract';
import type { Prisma, PrismaClient } from '@muster/database';
import { ProblemError, type Logger } from '@muster/service';
import AsyncLock from 'async-lock';
import { compile, type Condition } from './condition.ts';

/** Who rules are from that came with Muster. */
export const STARTER_AUTHOR = 'muster';

/** A rule as it is on record. */
export interface StoredRule {
  readonly name: string;
  readonly version: number;
  readonly definition: AlertRule;
  readonly author: string;
  readonly updatedAt: Date;
}

/** What a change of rules leads to. */
export interface RuleWatcher {
  /** Rules are others now. */
  readonly onRules: (conditions: readonly Condition[]) => void;
  /** By name, for how many subjects rules hold by what is known now; without those of which only time can tell. */
  readonly breachingOf: (rules: readonly AlertRule[]) => Promise<ReadonlyMap<string, number>>;
}

const IN_FORCE_AGAIN_MS = 1_000;

/** The alert rules: every version is kept, the newest is in force. */
export class AlertRules {
  #watcher: RuleWatcher | undefined;
  /** Changes are made one after the other: a version follows the one before. */
  readonly #changes = new AsyncLock();
  #again: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(
    private readonly database: PrismaClient,
    private readonly logger: Logger,
  ) {}

  /** Whoever puts rules in force. */
  watch(watcher: RuleWatcher): void {
    this.#watcher = watcher;
  }

  /**
   * Gives the rules that come with Muster, each once: what an operator has changed or deleted stays so, and what a later
   * version brings is added.
   */
  async giveStarters(starters: readonly AlertRule[], now = new Date()): Promise<readonly string[]> {
    const given = new Set((await this.database.starterAlertRule.findMany()).map(({ name }) => name));
    const fresh = starters.filter(({ name }) => !given.has(name));
    const taken = new Set((await this.list()).map(({ name }) => name));
    const rules = fresh.filter(({ name }) => !taken.has(name));
    await this.database.$transaction([
      ...this.#writes(rules, await this.#nextVersions(rules), STARTER_AUTHOR, now),
      this.database.starterAlertRule.createMany({ data: fresh.map(({ name }) => ({ name, givenAt: now })) }),
    ]);
    return fresh.map(({ name }) => name);
  }

  /** All rules, in the order of their names; one that this version cannot read is told and left out. */
  async list(): Promise<readonly StoredRule[]> {
    const rows = await this.database.alertRule.findMany({ orderBy: { name: 'asc' } });
    return rows.flatMap(({ definition, ...rest }) => {
      const parsed = alertRuleSchema.safeParse(definition);
      if (parsed.success) return [{ ...rest, definition: parsed.data }];
      this.logger.error({ rule: rest.name, reason: parsed.error.message }, 'a rule cannot be read and is not in force');
      return [];
    });
  }

  /** Rules that are to be in force. */
  async conditions(): Promise<readonly Condition[]> {
    return (await this.list())
      .filter(({ definition }) => definition.enabled)
      .map(({ definition, version }) => compile(definition, version));
  }

  /**
   * One rule.
   * @throws ProblemError 404
   */
  async find(name: string): Promise<StoredRule> {
    const found = (await this.list()).find((rule) => rule.name === name);
    if (found === undefined)
      throw new ProblemError(404, `there is no alert rule ${JSON.stringify(name.slice(0, 100))}`);
    return found;
  }

  /**
   * Every version of a rule, also of one that was deleted.
   * @throws ProblemError 404
   */
  async versions(name: string): Promise<AlertRuleVersions> {
    const rows = await this.database.alertRuleVersion.findMany({ where: { rule: name }, orderBy: { version: 'desc' } });
    if (rows.length === 0)
      throw new ProblemError(404, `there was never an alert rule ${JSON.stringify(name.slice(0, 100))}`);
    return {
      items: rows.map(({ version, definition, author, createdAt }) => {
        const parsed = alertRuleSchema.safeParse(definition);
        return { version, author, createdAt: createdAt.toISOString(), definition: parsed.success ? parsed.data : null };
      }),
    };
  }

  /** Which rules came with Muster and are as they came. */
  isStarter({ author }: StoredRule): boolean {
    return author === STARTER_AUTHOR;
  }

  /** Puts rules in force, or says what that would do; rules that are not among them stay. */
  async apply(rules: readonly AlertRule[], author: string, dryRun: boolean): Promise<AlertRuleChanges> {
    return this.#changes.acquire('rules', async () => {
      const known = new Map((await this.list()).map((rule) => [rule.name, rule]));
      const others = rules.filter((rule) => !isDeepStrictEqual(known.get(rule.name)?.definition, rule));
      const versions = await this.#nextVersions(others);
      // None of this in the transaction: it asks for the whole fleet, and that may take longer than one is to last.
      const breaching = await this.#breachingOf(rules);
      if (!dryRun && others.length > 0)
        await this.database.$transaction(this.#writes(others, versions, author, new Date()));
      if (!dryRun && (others.length > 0 || this.#again !== undefined)) await this.#inForce();
      const items = rules.map(({ name }) => {
        const before = known.get(name);
        const version = versions.get(name);
        const change: AlertRuleChanges['items'][number]['change'] =
          version === undefined ? 'unchanged' : before === undefined ? 'created' : 'changed';
        return { name, change, version: version ?? before?.version ?? 1, breaching: breaching.get(name) ?? null };
      });
      return { dryRun, items };
    });
  }

  /** Stops. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#again);
  }

  /**
   * Takes a rule out of force; its versions are kept.
   * @throws ProblemError 404
   */
  async remove(name: string, author: string): Promise<void> {
    await this.#changes.acquire('rules', async () => {
      await this.find(name);
      const version = (await this.#nextVersions([{ name }])).get(name) ?? 1;
      await this.database.$transaction([
        this.database.alertRuleVersion.create({ data: { rule: name, version, author, createdAt: new Date() } }),
        this.database.alertRule.delete({ where: { name } }),
      ]);
      await this.#inForce();
    });
  }

  /** What is stored comes into force, if need be later: whoever has stored it is told that it is. */
  async #inForce(): Promise<void> {
    clearTimeout(this.#again);
    this.#again = undefined;
    try {
      this.#watcher?.onRules(await this.conditions());
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.logger.warn({ reason }, 'rules are stored and not in force yet; that is tried again');
      if (!this.#isClosed)
        this.#again = setTimeout(() => void this.#changes.acquire('rules', () => this.#inForce()), IN_FORCE_AGAIN_MS);
    }
  }

  async #breachingOf(rules: readonly AlertRule[]): Promise<ReadonlyMap<string, number>> {
    try {
      return (await this.#watcher?.breachingOf(rules)) ?? new Map<string, number>();
    } catch (error) {
      // Good to know, and no reason to refuse a rule.
      const reason = error instanceof Error ? error.message : String(error);
      this.logger.warn({ reason }, 'for how many devices rules hold could not be counted');
      return new Map();
    }
  }

  async #nextVersions(rules: readonly Pick<AlertRule, 'name'>[]): Promise<ReadonlyMap<string, number>> {
    const names = rules.map(({ name }) => name);
    const newest = await this.database.alertRuleVersion.groupBy({
      by: ['rule'],
      where: { rule: { in: names } },
      _max: { version: true },
    });
    const versions = new Map(newest.map(({ rule, _max }) => [rule, _max.version ?? 0]));
    return new Map(names.map((name) => [name, (versions.get(name) ?? 0) + 1]));
  }

  #writes(
    rules: readonly AlertRule[],
    versions: ReadonlyMap<string, number>,
    author: string,
    now: Date,
  ): Prisma.PrismaPromise<unknown>[] {
    if (rules.length === 0) return [];
    const rows = JSON.stringify(
      rules.map((definition) => ({
        ...{ name: definition.name, definition, author, at: now },
        version: versions.get(definition.name) ?? 1,
      })),
    );
    return [
      this.database.$executeRaw`
        INSERT INTO alert_rule_version (rule, version, definition, author, created_at)
        SELECT name, version, definition, author, at
        FROM jsonb_to_recordset(${rows}::jsonb)
          AS row(name text, version int, definition jsonb, author text, at timestamptz)`,
      this.database.$executeRaw`
        INSERT INTO alert_rule (name, version, definition, author, updated_at)
        SELECT name, version, definition, author, at
        FROM jsonb_to_recordset(${rows}::jsonb)
          AS row(name text, version int, definition jsonb, author text, at timestamptz)
        ON CONFLICT (name) DO UPDATE
        SET version = excluded.version, definition = excluded.definition, author = excluded.author,
            updated_at = excluded.updated_at`,
    ];
  }
}
