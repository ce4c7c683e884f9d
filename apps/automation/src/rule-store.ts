import { isDeepStrictEqual } from 'node:util';
import type { RuleApplied, RuleRunList, RuleView } from '@muster/contract';
import type { Prisma, PrismaClient } from '@muster/database';
import { ProblemError } from '@muster/service';
import type { RuleInForce } from './compiled-rule.ts';
import { storedRule, type WrittenRule } from './rule-source.ts';

/** Rules and their versions in PostgreSQL. */
export class RuleStore {
  constructor(private readonly database: PrismaClient) {}

  /** The rules that run: enabled, not stopped, and in their newest version. */
  async inForce(): Promise<readonly RuleInForce[]> {
    const rules = await this.database.rule.findMany({
      where: { enabled: true, stopped: null },
      orderBy: { id: 'asc' },
    });
    const versions = await this.database.ruleVersion.findMany({
      where: { OR: rules.map(({ id, version }) => ({ rule: id, version })) },
    });
    const definitions = new Map(versions.map(({ rule, definition }) => [rule, definition]));
    return rules.map(({ id, version }) => ({ rule: storedRule(definitions.get(id)), version }));
  }

  /** Saves rules, each as a new version where it differs from the newest; all of them or none. */
  async apply(written: readonly WrittenRule[], author: string, dryRun: boolean): Promise<RuleApplied> {
    return this.database.$transaction(async (transaction) => {
      const rules: RuleApplied['rules'] = [];
      for (const { rule, written: definition } of written) {
        const before = await transaction.rule.findUnique({ where: { id: rule.id } });
        const newest =
          before === null
            ? null
            : await transaction.ruleVersion.findUnique({
                where: { rule_version: { rule: rule.id, version: before.version } },
              });
        const isSame = newest !== null && isDeepStrictEqual(newest.definition, definition);
        if (isSame && before !== null) {
          rules.push({ id: rule.id, version: before.version, change: 'unchanged' });
          continue;
        }
        // A rule that was removed and comes again goes on counting: no two definitions share a number.
        const last = await transaction.ruleVersion.aggregate({ where: { rule: rule.id }, _max: { version: true } });
        const version = (last._max.version ?? 0) + 1;
        rules.push({ id: rule.id, version, change: before === null ? 'created' : 'updated' });
        if (dryRun) continue;
        await transaction.ruleVersion.create({
          data: { rule: rule.id, version, author, definition: definition as Prisma.InputJsonObject },
        });
        const state = { version, enabled: rule.enabled, stopped: null, stoppedAt: null, updatedAt: new Date() };
        await transaction.rule.upsert({ where: { id: rule.id }, create: { id: rule.id, ...state }, update: state });
      }
      return { dryRun, rules };
    });
  }

  /** All rules. */
  async list(): Promise<readonly RuleView[]> {
    const rows = await this.#rows();
    return rows.map(viewOf);
  }

  /**
   * One rule, in its newest version or in an older one.
   * @throws ProblemError 404
   */
  async find(id: string, version?: number): Promise<RuleView> {
    const [row] = await this.#rows(id);
    if (row === undefined) throw new ProblemError(404, `there is no rule ${id}`);
    if (version === undefined) return viewOf(row);
    const found = await this.database.ruleVersion.findUnique({ where: { rule_version: { rule: id, version } } });
    if (found === null) throw new ProblemError(404, `rule ${id} has no version ${version}`);
    return viewOf({ ...row, version, definition: found.definition, author: found.author, updated_at: found.createdAt });
  }

  /**
   * Lets a rule run or not; a stopped one that is enabled runs again.
   * @throws ProblemError 404
   */
  async enable(id: string, enabled: boolean): Promise<void> {
    const { count } = await this.database.rule.updateMany({
      where: { id },
      data: { enabled, updatedAt: new Date(), ...(enabled ? { stopped: null, stoppedAt: null } : {}) },
    });
    if (count === 0) throw new ProblemError(404, `there is no rule ${id}`);
  }

  /** Stops a rule that cannot go on, with the reason. */
  async stop(id: string, reason: string): Promise<void> {
    await this.database.rule.updateMany({ where: { id }, data: { stopped: reason, stoppedAt: new Date() } });
  }

  /**
   * Removes a rule; its versions stay.
   * @throws ProblemError 404
   */
  async remove(id: string): Promise<void> {
    const { count } = await this.database.rule.deleteMany({ where: { id } });
    if (count === 0) throw new ProblemError(404, `there is no rule ${id}`);
  }

  /** What rules have done, the newest first. */
  async runs(rule: string | undefined, limit: number): Promise<RuleRunList['items']> {
    const rows = await this.database.ruleRun.findMany({
      ...(rule === undefined ? {} : { where: { rule } }),
      orderBy: { id: 'desc' },
      take: limit,
    });
    return rows.map(({ id, at, outcome, trigger, ...row }) => ({
      ...row,
      id: String(id),
      at: at.toISOString(),
      outcome: outcome as RuleRunList['items'][number]['outcome'],
      trigger: trigger as Record<string, unknown>,
    }));
  }

  async #rows(id?: string): Promise<readonly RuleRow[]> {
    return this.database.$queryRaw<RuleRow[]>`
      SELECT rule.id, rule.version, rule.enabled, rule.stopped, rule.stopped_at, rule.updated_at,
             rule_version.definition, rule_version.author,
             (SELECT max(at) FROM rule_run WHERE rule_run.rule = rule.id AND outcome = 'acted') AS last_run_at
      FROM rule JOIN rule_version ON rule_version.rule = rule.id AND rule_version.version = rule.version
      WHERE ${id ?? null}::text IS NULL OR rule.id = ${id ?? null}
      ORDER BY rule.id`;
  }
}

interface RuleRow {
  readonly id: string;
  readonly version: number;
  readonly enabled: boolean;
  readonly stopped: string | null;
  readonly stopped_at: Date | null;
  readonly updated_at: Date;
  readonly definition: unknown;
  readonly author: string;
  readonly last_run_at: Date | null;
}

function viewOf(row: RuleRow): RuleView {
  const definition = row.definition as Record<string, unknown>;
  return {
    id: row.id,
    name: typeof definition['name'] === 'string' ? definition['name'] : null,
    version: row.version,
    state: !row.enabled ? 'disabled' : row.stopped === null ? 'enabled' : 'stopped',
    stopped: row.stopped,
    stoppedAt: row.stopped_at?.toISOString() ?? null,
    lastRunAt: row.last_run_at?.toISOString() ?? null,
    updatedAt: row.updated_at.toISOString(),
    author: row.author,
    definition,
  };
}
