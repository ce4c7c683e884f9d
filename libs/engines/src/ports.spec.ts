import { describe, expect, it, vi } from 'vitest';
import { freePort } from './ports.ts';

describe('a free port', () => {
  it('is given once: whoever asked before may not listen on it yet', async () => {
    const ports: number[] = [];
    while (ports.length < 2_000) ports.push(await freePort());
    expect(new Set(ports).size).toBe(2_000);
  });

  it('is given to one of two processes that start at once', async () => {
    vi.resetModules();
    const another = await import('./ports.ts');
    const ports: number[] = [];
    while (ports.length < 2_000) ports.push(await freePort(), await another.freePort());
    expect(new Set(ports).size).toBe(2_000);
  });
});
