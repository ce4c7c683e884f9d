import { describe, expect, it } from 'vitest';
import type { Attempt } from './security/attempts.ts';
import { execute } from './system.ts';

describe('npm run security', () => {
  it('finds every attempt to end as it must, each made for real over TLS', async () => {
    const { code, stdout, stderr } = await execute('npm', ['run', '--silent', 'security', '--', '--json'], 170_000);
    const done = JSON.parse(stdout || '[]') as readonly Attempt[];
    expect(done.filter(({ ok }) => !ok)).toEqual([]);
    expect(done.length, stderr).toBeGreaterThan(25);
    expect(code).toBe(0);
  }, 180_000);
});
