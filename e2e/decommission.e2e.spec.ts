import { setTimeout as delay } from 'node:timers/promises';
import type { DecommissionPreview, DecommissionReport } from '@muster/contract';
import { describe, expect, it, vi } from 'vitest';
import { curl, deviceOf, muster, publish, retained } from './system.ts';
import { SystemOfFile } from './system-of-file.ts';

const system = new SystemOfFile();

/** A device with three retained messages. */
async function aDevice(id: string): Promise<void> {
  for (const topic of ['status', 'config', 'note'])
    await publish(system.address, '-t', `devices/${id}/${topic}`, '-m', 'online', '-r', '-q', '1');
  await vi.waitFor(async () => expect((await deviceOf(system.address, id)).presence.state).toBe('online'), {
    timeout: 8_000,
  });
}

async function decommission(id: string, query = ''): ReturnType<typeof curl> {
  return curl(system.address, `/api/v1/devices/${id}/decommission${query}`, '-X', 'POST');
}

async function verified(id: string, timeoutMs: number): Promise<DecommissionReport> {
  return vi.waitFor(
    async () => {
      const { body } = await curl(system.address, `/api/v1/devices/${id}/decommission`);
      expect(body).toMatchObject({ device: id, state: expect.stringMatching(/verified|done/), after: [] });
      return body as DecommissionReport;
    },
    { timeout: timeoutMs, interval: 250 },
  );
}

/** The system started a process of that name again after it was killed. */
async function restarted(name: string, before: number): Promise<void> {
  const restarts = (): number =>
    system.started.events.filter((event) => event['event'] === 'restarted' && event['name'] === name).length;
  await vi.waitFor(() => expect(restarts()).toBeGreaterThan(before), { timeout: 30_000 });
}

describe('decommissioning', () => {
  it('shows beforehand what it would clear, and changes nothing', async () => {
    await aDevice('candidate');
    const { status, body } = await decommission('candidate', '?dryRun=true');
    expect(status).toBe(200);
    const preview = body as DecommissionPreview;
    expect(preview).toMatchObject({ device: 'candidate', hasAccount: false, wouldKeep: [], faults: [] });
    expect(preview.wouldClear.map(({ topic, bytes }) => `${topic} ${bytes}`).sort()).toEqual([
      'devices/candidate/config 6',
      'devices/candidate/note 6',
      'devices/candidate/status 6',
    ]);
    const { code, stdout } = await muster(system.address, 'decommission', 'candidate', '--dry-run');
    expect([code, stdout]).toEqual([0, expect.stringContaining('candidate: nothing has been changed')]);
    expect(await retained(system.address, 'devices/candidate/#')).toHaveLength(3);
    expect((await deviceOf(system.address, 'candidate')).state).toBe('discovered');
    expect((await curl(system.address, '/api/v1/devices/candidate/decommission')).status).toBe(404);
  });

  it('R13 clears when every service that runs refuses what still comes, and says which these are', async () => {
    await aDevice('orderly');
    const report = (await decommission('orderly')).body as DecommissionReport;
    expect(report.state).toBe('verified');
    expect(report.services.map(({ service, applied }) => [service.split('@')[0], applied])).toEqual([
      ['alerting', true],
      ['ingestion', true],
      ['presence', true],
    ]);
  });

  it('waits for a service that hangs, clears nothing before, and goes on by itself', { timeout: 120_000 }, async () => {
    await aDevice('patient');
    const presence = system.address.pids['presence'] ?? 0;
    process.kill(presence, 'SIGSTOP');
    try {
      const { status, body } = await decommission('patient', '?wait=8s');
      expect(status).toBe(202);
      expect(body).toMatchObject({
        state: 'incomplete',
        cleared: [],
        notDone: expect.arrayContaining([expect.stringMatching(/^presence@.*does not refuse its messages yet/)]),
      });
      expect(await retained(system.address, 'devices/patient/#')).toHaveLength(3);
    } finally {
      process.kill(presence, 'SIGCONT');
    }
    expect((await verified('patient', 60_000)).cleared).toHaveLength(3);
    expect(await retained(system.address, 'devices/patient/#')).toEqual([]);
  });

  it(
    'a broker away: 202 at once where nobody wants to wait, and it goes on by itself',
    { timeout: 120_000 },
    async () => {
      await aDevice('stranded');
      const broker = system.address.pids['mosquitto-0'] ?? 0;
      process.kill(broker, 'SIGSTOP');
      try {
        const askedAtMs = performance.now();
        const { status, body } = await decommission('stranded', '?wait=0s');
        expect(performance.now() - askedAtMs).toBeLessThan(4_000);
        expect([status, (body as DecommissionReport).state]).toEqual([202, 'incomplete']);
        await vi.waitFor(
          async () => {
            const report = (await curl(system.address, '/api/v1/devices/stranded/decommission'))
              .body as DecommissionReport;
            expect(report.notDone.join()).toContain('mosquitto-0');
          },
          { timeout: 30_000, interval: 500 },
        );
      } finally {
        process.kill(broker, 'SIGCONT');
      }
      expect((await verified('stranded', 70_000)).cleared.map(({ topic }) => topic)).toContain(
        'devices/stranded/status',
      );
      expect((await deviceOf(system.address, 'stranded')).state).toBe('decommissioned');
    },
  );

  it('goes on by itself when the registry is killed at any moment of it', { timeout: 180_000 }, async () => {
    // From before anything is on record to after the verification; more kills a minute than these are no accident.
    const moments = [0, 20, 60, 200];
    for (const [index, atMs] of moments.entries()) {
      const id = `interrupted-${atMs}`;
      await aDevice(id);
      const asked = decommission(id).catch(() => undefined);
      await delay(atMs);
      process.kill(system.pidOf('registry'), 'SIGKILL');
      await asked;
      await restarted('registry', index);
      await vi.waitFor(async () => expect((await curl(system.address, '/readyz')).status).toBe(200), {
        timeout: 30_000,
      });
      const begun = (await curl(system.address, `/api/v1/devices/${id}/decommission`)).status === 200;
      // What was killed before it was on record has not been promised to anybody.
      if (!begun) await decommission(id);
      await verified(id, 60_000);
      expect(await retained(system.address, `devices/${id}/#`)).toEqual([]);
    }
  });

  it.each([
    ['?wait=soon', 422],
    ['?wait=600s', 422],
    ['?dryRun=perhaps', 422],
    ['?colour=red', 422],
  ])('POST …/decommission%s is answered with %i, and nothing is done', async (query, status) => {
    await aDevice('untouched');
    expect(await decommission('untouched', query)).toMatchObject({ status });
    expect((await deviceOf(system.address, 'untouched')).state).toBe('discovered');
  });
});
