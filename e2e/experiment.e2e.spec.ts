import { describe, expect, it } from 'vitest';
import { runMuster } from './system.ts';

async function found(...args: readonly string[]): Promise<unknown> {
  const { code, stdout, stderr } = await runMuster('experiment', ...args, '--json');
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as unknown;
}

describe('muster experiment', { timeout: 180_000 }, () => {
  it('qos: 100 messages at each QoS cost 0, 4 and 12 bytes of acknowledgements, and one and two round trips', async () => {
    const figures = (await found('qos', '--round-trip', '60')) as {
      readonly qos: number;
      readonly exchangeMs: { readonly median: number };
    }[];
    expect(figures).toMatchObject([
      { qos: 0, messages: 100, received: 100, acknowledgementBytesPerMessage: 0 },
      { qos: 1, messages: 100, received: 100, acknowledgementBytesPerMessage: 4 },
      { qos: 2, messages: 100, received: 100, acknowledgementBytesPerMessage: 12 },
    ]);
    expect(figures[1]?.exchangeMs.median).toBeGreaterThanOrEqual(60);
    expect(figures[2]?.exchangeMs.median).toBeGreaterThanOrEqual(120);
  });

  it('interruption: a reset brings the will at once, silence after about 1.5 times the keep-alive', async () => {
    const figures = (await found('interruption')) as { afterResetMs: number; ofKeepAlive: number };
    expect(figures.afterResetMs).toBeLessThan(2_000);
    expect(figures.ofKeepAlive).toBeGreaterThan(1.2);
    expect(figures.ofKeepAlive).toBeLessThan(2);
  });

  it('retained: whoever subscribes later has the status at once, and no telemetry', async () => {
    expect(await found('retained')).toMatchObject({
      online: { text: expect.stringContaining('"online"') as string },
      afterPowerLoss: { text: expect.stringContaining('"unexpected"') as string },
      telemetryAtOnce: 0,
    });
  });

  it('duplicates: QoS 1 delivers again what was not acknowledged, and session and number tell', async () => {
    const figures = (await found('duplicates', '--losses', '3')) as { received: number; distinct: number };
    expect(figures).toMatchObject({ duplicates: figures.received - figures.distinct });
    expect(figures.received - figures.distinct).toBeGreaterThanOrEqual(3);
  });

  it('battery: measured exchanges leave less of a battery the more is acknowledged', async () => {
    const figures = (await found('battery', '--messages', '20')) as { courseDays: number; honestDays: number }[];
    const days = figures.map(({ courseDays }) => courseDays);
    expect(days).toEqual([...days].sort((one, other) => other - one));
    expect(days[0]).toBeCloseTo(833.33, 0);
    for (const { honestDays } of figures) expect(honestDays).toBeLessThan(10);
  });

  it('shows a table and a picture to people, and says what it does on standard error', async () => {
    const { code, stdout, stderr } = await runMuster('experiment', 'retained');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^SUBSCRIBED +AFTER +STATUS\n/);
    expect(stdout).toContain('█');
    expect(stderr).toContain('somebody subscribes');
  });

  it('refuses what it cannot do', async () => {
    const { code, stderr } = await runMuster('experiment', 'interruption', '--keep-alive', '10');
    expect(code).toBe(2);
    expect(stderr).toContain('from 30 to 3600');
  });
});
