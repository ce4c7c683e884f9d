import { describe, expect, it } from 'vitest';
import { storeIntervalMs } from './ingestion.ts';

describe('the time until last readings are written again', () => {
  it.each([
    [0, 200],
    [100, 250],
    [1_000, 700],
    [200_000, 700],
  ])('is, after %i rows, %i ms', (rows, intervalMs) => {
    expect(storeIntervalMs(rows)).toBe(intervalMs);
  });
});
