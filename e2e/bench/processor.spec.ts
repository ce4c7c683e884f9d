import { describe, expect, it } from 'vitest';
import { mainThreadMs, processorMs, residentBytes } from './processor.ts';

describe.runIf(process.platform === 'linux')('what a process uses', () => {
  it('counts the processor that it used, and not the time that passed', async () => {
    const start = process.cpuUsage();
    const before = processorMs(process.pid);
    await new Promise((resolve) => setTimeout(resolve, 200));
    const startedAt = performance.now();
    while (performance.now() - startedAt < 200) Math.sqrt(startedAt);
    const { user, system } = process.cpuUsage(start);
    expect(processorMs(process.pid) - before).toBeCloseTo((user + system) / 1_000, -2);
  });

  it('counts the main thread within all threads', () => {
    expect(mainThreadMs(process.pid)).toBeLessThanOrEqual(processorMs(process.pid));
  });

  it('knows the memory of a process', () => {
    const bytes = residentBytes(process.pid);
    expect(Math.abs(bytes - process.memoryUsage.rss())).toBeLessThan(50e6);
  });
});
