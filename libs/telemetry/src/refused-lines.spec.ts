import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { drained, fail, linesOf, partialWrite, scene } from './telemetry-writer-scene.ts';

describe('B9 lines that InfluxDB refuses', () => {
  it('are told one by one with the reason, whichever they are, and never cost the others', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.nat(49), { maxLength: 12 }), fc.boolean(), async (numbers, counts) => {
        const made = await scene();
        const { influx, writer, refused } = made;
        const bad = new Set(numbers.map((number) => linesOf(number, 1)[0] ?? ''));
        influx.answers(partialWrite(influx, (line) => bad.has(line), { counts }));
        expect(await writer.write(linesOf(0, 50))).toBe('influxdb');
        expect(new Set(refused.map(([line]) => line))).toEqual(bad);
        expect(refused).toHaveLength(bad.size);
        for (const [, reason] of refused) expect(reason).toContain('field type conflict');
        expect(new Set(influx.stored)).toEqual(new Set(linesOf(0, 50).filter((line) => !bad.has(line))));
      }),
      { numRuns: 30 },
    );
  });

  it('that are all of a batch take one request', async () => {
    const { influx, writer, refused } = await scene();
    influx.answers(partialWrite(influx, () => true));
    await writer.write(linesOf(0, 50));
    expect(refused).toHaveLength(50);
    expect(influx.writes).toHaveLength(1);
  });

  it('that are older than the retention are told by their times, and what that answer hides is found', async () => {
    const { influx, writer, refused } = await scene();
    const lines = [...linesOf(0, 20)].reverse();
    const [bad] = linesOf(15, 1);
    influx.answers((response, write) => {
      const tooOld = write.lines.filter((line) => linesOf(0, 3).includes(line)).length;
      if (tooOld > 0) fail(response, 400, `partial write: points beyond retention policy dropped=${tooOld}`);
      else partialWrite(influx, (line) => line === bad)(response, write);
    });
    await writer.write(lines);
    expect(refused.map(([line]) => line)).toEqual([...linesOf(0, 3), bad]);
  });

  it('are found in what is replayed as well, and once only though InfluxDB goes away in between', async () => {
    const made = await scene({ maxBatchLines: 16 });
    const { influx, writer, refused } = made;
    influx.answersError(503, 'away');
    for (const from of [0, 16]) await writer.write(linesOf(from, 16));
    const bad = new Set([...linesOf(2, 1), ...linesOf(20, 1), ...linesOf(30, 1)]);
    let count = 0;
    influx.answers((response, write) => {
      count += 1;
      if (count % 4 === 0) fail(response, 503, 'away again');
      else partialWrite(influx, (line) => bad.has(line), { counts: false })(response, write);
    });
    await drained(made);
    expect(refused.map(([line]) => line)).toEqual([...bad]);
    expect(new Set(influx.stored)).toEqual(new Set(linesOf(0, 32).filter((line) => !bad.has(line))));
  });

  it('leave the rest of their batch to the spool where InfluxDB goes away while they are looked for', async () => {
    const made = await scene();
    const { influx, writer, refused } = made;
    const [bad = ''] = linesOf(3, 1);
    influx.answers((response, write) =>
      influx.writes.length > 3
        ? fail(response, 503, 'away')
        : partialWrite(influx, (line) => line === bad)(response, write),
    );
    expect(await writer.write(linesOf(0, 16))).toBe('spool');
    influx.answers(partialWrite(influx, (line) => line === bad));
    await drained(made);
    expect(refused.map(([line]) => line)).toEqual([bad]);
    expect(new Set(influx.stored)).toEqual(new Set(linesOf(0, 16).filter((line) => line !== bad)));
  });

  it('stay unsettled where whoever takes them fails', async () => {
    const onRefused = (): never => {
      throw new Error('no letters today');
    };
    const { influx, writer } = await scene({ onRefused });
    influx.answers(partialWrite(influx, () => true));
    await expect(writer.write(linesOf(0, 2))).rejects.toThrow('no letters today');
    expect(writer.heldBytes).toBe(0);
  });
});

describe('any sequence of outages', () => {
  it('loses no line, refuses no good one, and leaves nothing in memory or in the spool', async () => {
    const faults = fc.array(fc.constantFrom('ok', 'ok', '503', 'reset', '400', '404'), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(faults, fc.integer({ min: 1, max: 5 }), async (plan, maxRequests) => {
        const made = await scene({ maxBatchLines: 4, maxRequests, maxDelayMs: 1 });
        const { influx, writer, spool, refused } = made;
        const isBad = (line: string): boolean => /temp=\d*7 /.test(line);
        const steps = [...plan];
        influx.answers((response, write) => {
          const step = steps.shift() ?? 'ok';
          if (step === '503') fail(response, 503, 'away');
          else if (step === '404') fail(response, 404, 'database not found');
          else if (step === 'reset') response.socket?.resetAndDestroy();
          else partialWrite(influx, isBad, { counts: step === 'ok' })(response, write);
        });
        const stored: Promise<unknown>[] = [];
        for (let from = 0; from < 60; from += 3) {
          stored.push(writer.write(linesOf(from, 3)));
          if (from % 9 === 0) await delay(2);
        }
        await Promise.all(stored);
        await drained(made);
        expect(new Set([...influx.stored, ...refused.map(([line]) => line)])).toEqual(new Set(linesOf(0, 60)));
        for (const [line] of refused) expect(isBad(line)).toBe(true);
        expect(writer.heldBytes).toBe(0);
        await writer.close(1_000);
        await spool.close();
      }),
      { numRuns: 15 },
    );
  }, 120_000);
});
