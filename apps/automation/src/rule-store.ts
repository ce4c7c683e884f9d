import { isDeepStrictEqual } from 'node:util';
import type { RuleApplied, RuleRunList, RuleView } from '@muster/contract';
import { ADVISORY_LOCKS, type Prisma, type PrismaClient } from '@muster/database';
import { ProblemError, type Logger } from '@muster/service';
import type { RuleInForce } from './compiled-rule.ts';
import { storedRule, type WrittenRule } from './rule-source.ts';

/** Held while rules are saved. Any constant of our own does. */
const APPLY_LOCK = ADVISORY_LOCKS.automationRules;
const APPLY_LIMIT_MS = 20_000;

/** Rules and their versions in PostgreSQL. */
export class RuleStore {
  constructor(
    private readonly database: PrismaClient,
    private readonly logger: Logger,
  ) {}

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
    return rules.flatMap(({ id, version }) => {
      const stored = storedRule(definitions.get(id));
      if ('rule' in stored) return [{ rule: stored.rule, version }];
      // Saved by a version that knows more: all others go on.
      this.logger.error({ rule: id, version, reason: stored.reason }, 'a rule cannot be read and is not in force');
      return [];
    });
  }

  /** Saves rules, each as a new version where it differs from the newest; all of them or none. */
  async apply(written: readonly WrittenRule[], author: string, dryRun: boolean): Promise<RuleApplied> {
    return this.database.$transaction(
      async (transaction) => {
        // Two at once would give the same number to two definitions.
        await transaction.$executeRaw`SELECT pg_advisory_xact_lock(${APPLY_LOCK})`;
        const known = await transaction.$queryRaw<{ id: string; version: number; definition: unknown; last: number }[]>`
          SELECT numbers.rule AS id, rule.version, current.definition, numbers.last
          FROM (SELECT rule, max(version) AS last FROM rule_version GROUP BY rule) AS numbers
          LEFT JOIN rule ON rule.id = numbers.rule
          LEFT JOIN rule_version AS current ON current.rule = rule.id AND current.version = rule.version`;
        const byId = new Map(known.map((row) => [row.id, row]));
        const planned = written.map(({ rule, written: definition }) => {
          const before = byId.get(rule.id);
          const exists = before !== undefined && before.definition !== null;
          if (exists && isDeepStrictEqual(before.definition, definition))
            return { rule, definition, version: before.version, change: 'unchanged' as const };
          // A rule that was removed and comes again goes on counting: no two definitions share a number.
          const version = (before?.last ?? 0) + 1;
          return { rule, definition, version, change: exists ? ('updated' as const) : ('created' as const) };
        });
        const changed = planned.filter(({ change }) => change !== 'unchanged');
        if (!dryRun && changed.length > 0) {
          await transaction.ruleVersion.createMany({
            data: changed.map(({ rule, definition, version }) => ({
              ...{ rule: rule.id, version, author },
              definition: definition as Prisma.InputJsonObject,
            })),
          });
          const rows = changed.map(({ rule, version }) => ({ id: rule.id, version, enabled: rule.enabled }));
          await transaction.$executeRaw`
            INSERT INTO rule (id, version, enabled)
            SELECT id, version, enabled
            FROM jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) AS row(id text, version int, enabled boolean)
            ON CONFLICT (id) DO UPDATE
            SET version = excluded.version, enabled = excluded.enabled, stopped = NULL, stopped_at = NULL, updated_at = now()`;
        }
        return { dryRun, rules: planned.map(({ rule, version, change }) => ({ id: rule.id, version, change })) };
      },
      { timeout: APPLY_LIMIT_MS },
    );
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
