import { describe, expect, it } from 'vitest';
import { freePort } from './ports.ts';

describe('a free port', () => {
  it('is given once: whoever asked before may not listen on it yet', async () => {
    const ports: number[] = [];
    while (ports.length < 2_000) ports.push(await freePort());
    expect(new Set(ports).size).toBe(2_000);
  });
});
