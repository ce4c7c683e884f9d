import { createHash } from 'node:crypto';
import type { AuditEntry } from '@muster/contract';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CHAIN_START, sealed, verifyChain } from './audit-chain.ts';

function chain(details: readonly Record<string, unknown>[]): readonly AuditEntry[] {
  const entries: AuditEntry[] = [];
  for (const detail of details) {
    const before = entries.at(-1) ?? CHAIN_START;
    entries.push(
      sealed({
        ...{ id: before.id + 1, at: '2027-01-31T12:00:00.000Z', actor: 'ada', scope: 'operator', subject: 'lab1' },
        ...{ action: 'PATCH /api/v1/devices/{id}', outcome: 'begun', status: null, begun: null, detail },
        previousHash: before.hash,
      }),
    );
  }
  return entries;
}

const details = fc.array(fc.dictionary(fc.string(), fc.jsonValue()), { minLength: 2, maxLength: 8 });

describe('the chain of the audit log', () => {
  it('hashes what anybody can hash: the entry as canonical JSON, without its hash', () => {
    const [entry] = chain([{ body: { name: 'Lab bench', b: 1.5, a: [true, null] }, from: '127.0.0.1' }]);
    const text =
      '{"action":"PATCH /api/v1/devices/{id}","actor":"ada","at":"2027-01-31T12:00:00.000Z","begun":null,' +
      '"detail":{"body":{"a":[true,null],"b":1.5,"name":"Lab bench"},"from":"127.0.0.1"},"id":1,"outcome":"begun",' +
      `"previousHash":"${'0'.repeat(64)}","scope":"operator","status":null,"subject":"lab1"}`;
    expect(entry?.hash).toBe(createHash('sha256').update(text).digest('hex'));
  });

  it('does not depend on the order in which names come', () => {
    const [one] = chain([{ a: 1, b: { c: 2, d: 3 } }]);
    const [other] = chain([{ b: { d: 3, c: 2 }, a: 1 }]);
    expect(one?.hash).toBe(other?.hash);
  });

  it('holds over any entries that were read again, at once or in parts', () => {
    fc.assert(
      fc.property(details, fc.nat(), (all, cut) => {
        const entries = JSON.parse(JSON.stringify(chain(all))) as AuditEntry[];
        const last = entries.at(-1);
        const whole = verifyChain(entries);
        expect(whole).toEqual({ end: { id: last?.id, hash: last?.hash }, broken: null });
        const at = cut % entries.length;
        expect(verifyChain(entries.slice(at), verifyChain(entries.slice(0, at)).end)).toEqual(whole);
      }),
    );
  });

  it('breaks at the first entry of which anything was changed', () => {
    const changes: readonly ((entry: AuditEntry) => AuditEntry)[] = [
      (entry) => ({ ...entry, at: '2027-01-31T12:00:00.001Z' }),
      (entry) => ({ ...entry, actor: 'eve' }),
      (entry) => ({ ...entry, scope: 'admin' }),
      (entry) => ({ ...entry, action: 'GET' }),
      (entry) => ({ ...entry, subject: null }),
      (entry) => ({ ...entry, outcome: 'done' }),
      (entry) => ({ ...entry, status: 200 }),
      (entry) => ({ ...entry, begun: 1 }),
      (entry) => ({ ...entry, detail: {} }),
      (entry) => ({ ...entry, hash: 'f'.repeat(64) }),
    ];
    const entries = chain([{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4 }]);
    for (const change of changes) {
      const changed = entries.map((entry) => (entry.id === 3 ? change(entry) : entry));
      expect(verifyChain(changed)).toEqual({
        end: { id: 2, hash: entries[1]?.hash },
        broken: { id: 3, why: 'its hash is not that of what it says: it was changed' },
      });
    }
  });

  it('breaks behind an entry that was changed and given a hash that fits', () => {
    const entries = chain([{ n: 1 }, { n: 2 }, { n: 3 }]);
    const forged = entries.map((entry) => {
      const { hash: _, ...rest } = entry;
      return entry.id === 2 ? sealed({ ...rest, actor: 'eve' }) : entry;
    });
    expect(verifyChain(forged).broken).toEqual({
      id: 3,
      why: 'it does not carry the hash of the entry before: one of them was replaced',
    });
  });

  it('breaks where entries are missing, also the first ones', () => {
    const entries = chain([{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4 }]);
    const without = (...ids: readonly number[]): readonly AuditEntry[] => entries.filter(({ id }) => !ids.includes(id));
    expect(verifyChain(without(2)).broken).toEqual({ id: 3, why: 'an entry is missing before it' });
    expect(verifyChain(without(1, 2)).broken).toEqual({ id: 3, why: '2 entries are missing before it' });
  });

  it('cannot tell that its end was cut off: for that the hash of the last entry is kept elsewhere', () => {
    const entries = chain([{ n: 1 }, { n: 2 }, { n: 3 }]);
    const { end, broken } = verifyChain(entries.slice(0, 2));
    expect(broken).toBeNull();
    expect(end.hash).not.toBe(entries[2]?.hash);
  });

  it('of nothing is whole', () => {
    expect(verifyChain([])).toEqual({ end: CHAIN_START, broken: null });
  });
});
