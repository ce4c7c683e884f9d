import { setTimeout as delay } from 'node:timers/promises';
import { alertRuleSchema, type AlertRule } from '@muster/contract';
import { openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import type { Logger } from '@muster/service';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it, vi } from 'vitest';
import { AlertRules } from './alert-rules.ts';
import type { Condition } from './condition.ts';

function rule(name: string, above = 30): AlertRule {
  return alertRuleSchema.parse({ name, kind: 'threshold', metric: 'temp', above });
}

describe('alert rules in PostgreSQL', () => {
  const logger = { warn: vi.fn(), error: vi.fn() } as unknown as Logger;
  let database: PrismaClient;
  let rules: AlertRules;
  let inForce: readonly string[] = [];
  let breachingOf: (asked: readonly AlertRule[]) => Promise<ReadonlyMap<string, number>>;

  beforeAll(async () => {
    const { postgresUrl } = inject('engines');
    const url = await freshDatabase(postgresUrl);
    database = openDatabase(url, 'test');
  });
  beforeEach(() => {
    inForce = [];
    breachingOf = (asked) => Promise.resolve(new Map(asked.map(({ name }) => [name, 7])));
    rules = new AlertRules(database, logger);
    rules.watch({
      onRules: (conditions: readonly Condition[]) => {
        inForce = conditions.map((condition) => `${condition.rule.name} ${condition.version}`);
      },
      breachingOf: (asked) => breachingOf(asked),
    });
  });
  afterEach(async () => {
    rules.close();
    vi.restoreAllMocks();
    await database.alertRule.deleteMany();
    await database.alertRuleVersion.deleteMany();
  });
  afterAll(async () => {
    await database.$disconnect();
  });

  it('are put in force, each with its version, and say what is so already', async () => {
    const { items } = await rules.apply([rule('a'), rule('b')], 'anna', false);
    expect(items).toEqual([
      { name: 'a', change: 'created', version: 1, breaching: 7 },
      { name: 'b', change: 'created', version: 1, breaching: 7 },
    ]);
    expect((await rules.apply([rule('b', 31)], 'anna', true)).items).toMatchObject([{ change: 'changed', version: 2 }]);
    expect((await rules.apply([rule('a'), rule('b', 31)], 'bert', false)).items).toMatchObject([
      { name: 'a', change: 'unchanged', version: 1 },
      { name: 'b', change: 'changed', version: 2 },
    ]);
    expect(inForce).toEqual(['a 1', 'b 2']);
    expect(await rules.find('b')).toMatchObject({ author: 'bert', definition: { above: 31 } });
    expect((await rules.versions('b')).items.map(({ version }) => version)).toEqual([2, 1]);
    await rules.remove('b', 'anna');
    expect((await rules.apply([rule('b')], 'anna', false)).items).toMatchObject([{ change: 'created', version: 4 }]);
    expect(inForce).toEqual(['a 1', 'b 4']);
  });

  it('are 500 in one file, and a fleet that takes its time to be counted', { timeout: 30_000 }, async () => {
    let asked = 0;
    breachingOf = async (all) => {
      asked += 1;
      await delay(5_500);
      return new Map(all.map(({ name }) => [name, 1]));
    };
    const many = Array.from({ length: 500 }, (_, index) => rule(`rule-${index}`));
    const { items } = await rules.apply(many, 'anna', false);
    expect([items.length, inForce.length, asked]).toEqual([500, 500, 1]);
  });

  it('are stored when the fleet cannot be counted', async () => {
    breachingOf = async () => Promise.reject(new Error('canceling statement due to statement timeout'));
    const { items } = await rules.apply([rule('a')], 'anna', false);
    expect([items, inForce]).toEqual([[{ name: 'a', change: 'created', version: 1, breaching: null }], ['a 1']]);
  });

  it('that are stored and could not be put in force are put in force as soon as that is possible', async () => {
    const read = vi.spyOn(rules, 'conditions').mockRejectedValueOnce(new Error('terminating connection'));
    await rules.apply([rule('a')], 'anna', false);
    expect(inForce).toEqual([]);
    await vi.waitFor(() => expect(inForce).toEqual(['a 1']), { timeout: 5_000 });
    expect(read).toHaveBeenCalledTimes(2);
  });

  it('that are given with Muster are given once', async () => {
    expect(await rules.giveStarters([rule('a'), rule('b')])).toEqual(['a', 'b']);
    await rules.remove('a', 'anna');
    expect(await rules.giveStarters([rule('a'), rule('b'), rule('c')])).toEqual(['c']);
    expect((await rules.list()).map(({ name, author }) => `${name} ${author}`)).toEqual(['b muster', 'c muster']);
  });
});
