import { isDeepStrictEqual } from 'node:util';
import { alertRuleSchema, type AlertRule, type AlertRuleChanges, type AlertRuleVersions } from '@muster/contract';
import type { Prisma, PrismaClient } from '@muster/database';
import { ProblemError, type Logger } from '@muster/service';
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
  /** For how many subjects a rule holds by what is known now; null where only time can tell. */
  readonly breachingOf: (rule: AlertRule) => Promise<number | null>;
}

/** The alert rules: every version is kept, the newest is in force. */
export class AlertRules {
  #watcher: RuleWatcher | undefined;
  /** Changes are made one after the other: a version follows the one before. */
  #turn: Promise<unknown> = Promise.resolve();

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
    for (const rule of fresh)
      await this.database.$transaction(async (transaction) => {
        if (!taken.has(rule.name)) await this.#write(transaction, rule, STARTER_AUTHOR, now);
        await transaction.starterAlertRule.create({ data: { name: rule.name, givenAt: now } });
      });
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
    return this.#inTurn(async () => {
      const known = new Map((await this.list()).map((rule) => [rule.name, rule]));
      const now = new Date();
      const items: AlertRuleChanges['items'] = [];
      await this.database.$transaction(async (transaction) => {
        for (const rule of rules) {
          const before = known.get(rule.name);
          const isSame = before !== undefined && isDeepStrictEqual(before.definition, rule);
          const version = isSame
            ? before.version
            : dryRun
              ? await this.#nextVersion(transaction, rule.name)
              : await this.#write(transaction, rule, author, now);
          const change = isSame ? 'unchanged' : before === undefined ? 'created' : 'changed';
          const breaching = (await this.#watcher?.breachingOf(rule)) ?? null;
          items.push({ name: rule.name, change, version, breaching });
        }
      });
      if (!dryRun && items.some(({ change }) => change !== 'unchanged')) await this.#inForce();
      return { dryRun, items };
    });
  }

  /**
   * Takes a rule out of force; its versions are kept.
   * @throws ProblemError 404
   */
  async remove(name: string, author: string): Promise<void> {
    await this.#inTurn(async () => {
      await this.find(name);
      await this.database.$transaction(async (transaction) => {
        const version = await this.#nextVersion(transaction, name);
        await transaction.alertRuleVersion.create({ data: { rule: name, version, author, createdAt: new Date() } });
        await transaction.alertRule.delete({ where: { name } });
      });
      await this.#inForce();
    });
  }

  async #inForce(): Promise<void> {
    this.#watcher?.onRules(await this.conditions());
  }

  async #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#turn.then(work);
    // Whoever waits for it gets the error; the next turn comes all the same.
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #nextVersion(transaction: Prisma.TransactionClient, name: string): Promise<number> {
    const { _max } = await transaction.alertRuleVersion.aggregate({ where: { rule: name }, _max: { version: true } });
    return (_max.version ?? 0) + 1;
  }

  async #write(transaction: Prisma.TransactionClient, rule: AlertRule, author: string, now: Date): Promise<number> {
    const version = await this.#nextVersion(transaction, rule.name);
    await transaction.alertRuleVersion.create({
      data: { rule: rule.name, version, definition: rule, author, createdAt: now },
    });
    const data = { version, definition: rule, author, updatedAt: now };
    await transaction.alertRule.upsert({
      where: { name: rule.name },
      create: { name: rule.name, ...data },
      update: data,
    });
    return version;
  }
}
