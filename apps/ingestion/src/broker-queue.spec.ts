import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BrokerQueues, queueForecast, type QueueLimits, type QueueSample } from './broker-queue.ts';

const MESSAGES: QueueLimits = { messages: 1_000_000, bytes: 0 };
const FULL_WINDOW = 65_535;

/** A broker whose messages have 100 bytes, of which 60 are retained; nothing of ingestion waits but what is said. */
function sample(atMs: number, fields: Partial<QueueSample> = {}): QueueSample {
  const stored = fields.stored ?? 60;
  return { atMs, stored, storedBytes: stored * 100, retained: 60, inHand: 0, isSpoolFull: false, ...fields };
}

/** Ingestion acknowledges nothing any more, and has got all that it may. */
function held(atMs: number, queued: number): QueueSample {
  return sample(atMs, { stored: 60 + FULL_WINDOW + queued, inHand: FULL_WINDOW, isSpoolFull: true });
}

describe('the queue of a broker for ingestion', () => {
  it.each<[string, QueueSample, number]>([
    ['is empty where everything is acknowledged', sample(0), 0],
    ['is empty while ingestion has not got all that it may', sample(0, { stored: 5_060, inHand: 5_000 }), 0],
    ['is not what waits for somebody else', sample(0, { stored: 600_060, inHand: 12 }), 0],
    ['is what is stored, without what is retained and what is in hand', held(0, 250_000), 0.25],
    ['is counted as well while a batch has just been acknowledged', { ...held(0, 245_000), inHand: 60_535 }, 0.25],
    ['is half full', held(0, 500_000), 0.5],
    ['is full, and never more than that', held(0, 1_200_000), 1],
  ])('%s', (_, one, share) => {
    expect(queueForecast([one], MESSAGES)?.share).toBe(share);
  });

  it.each<[string, QueueLimits, number | undefined]>([
    ['of a broker without a limit gives no figure', { messages: 0, bytes: 0 }, undefined],
    ['is limited by messages', { messages: 500_000, bytes: 0 }, 0.5],
    ['is limited by bytes', { messages: 0, bytes: 50_000_000 }, 0.5],
    ['is limited by what comes first', { messages: 1_000_000, bytes: 31_250_000 }, 0.8],
  ])('%s', (_, limits, share) => {
    expect(queueForecast([held(0, 250_000)], limits)?.share).toBe(share);
  });

  it('of a broker that has told nothing yet gives no figure', () => {
    expect(queueForecast([], MESSAGES)).toBeUndefined();
    expect(queueForecast([sample(0, { stored: 0, retained: 0 })], MESSAGES)).toEqual({
      share: 0,
      minutesLeft: undefined,
    });
  });
});

describe('the time until a queue is full', () => {
  it.each<[string, readonly QueueSample[], number | undefined]>([
    ['is unknown after one look', [held(0, 100_000)], undefined],
    [
      'is what is left by how fast it grows',
      // 1,000 a second; 400,000 are left.
      [held(0, 590_000), held(10_000, 600_000)],
      400 / 60,
    ],
    ['is measured over all looks', [held(0, 540_000), held(5_000, 599_000), held(60_000, 600_000)], 400 / 60],
    ['is unknown where it does not grow', [held(0, 600_000), held(10_000, 600_000)], undefined],
    ['is unknown where it shrinks', [held(0, 600_000), held(10_000, 500_000)], undefined],
    ['is 0 where it is full', [held(0, 990_000), held(10_000, 1_000_500)], 0],
    [
      'is known as soon as the spool is full, by what is in hand',
      // 1,000 a second; 45,535 are left of what may be in hand, and the whole queue.
      [10_000, 20_000].map((inHand, at) => sample(at * 10_000, { inHand, stored: 60 + inHand, isSpoolFull: true })),
      1_045.535 / 60,
    ],
    [
      'is not asked while the spool has room and nothing is queued',
      [10_000, 20_000].map((inHand, at) => sample(at * 10_000, { inHand, stored: 60 + inHand })),
      undefined,
    ],
    [
      'is not made short by what waits for somebody else when the queue begins',
      // 300,000 of another client are in the first look at the queue: only what comes from then on is growth.
      [sample(0, { inHand: 5_535, stored: 305_595, isSpoolFull: true }), held(10_000, 300_000), held(20_000, 310_000)],
      690 / 60,
    ],
    [
      'is known where ingestion is too slow, and its spool has room',
      [held(0, 590_000), held(10_000, 600_000)].map((one) => ({ ...one, isSpoolFull: false })),
      400 / 60,
    ],
  ])('%s', (_, samples, minutes) => {
    const forecast = queueForecast(samples, MESSAGES);
    if (minutes === undefined) expect(forecast?.minutesLeft).toBeUndefined();
    else expect(forecast?.minutesLeft).toBeCloseTo(minutes, 6);
  });

  it('is no negative number, and the share none beyond 1, whatever a broker says', () => {
    const figure = fc.nat(3_000_000);
    const one = fc.record({
      ...{ stored: figure, storedBytes: figure, retained: figure, inHand: fc.nat(FULL_WINDOW) },
      isSpoolFull: fc.boolean(),
    });
    const limits = fc.record({ messages: figure, bytes: figure });
    fc.assert(
      fc.property(fc.array(one, { minLength: 1, maxLength: 8 }), limits, (looks, limit) => {
        const samples = looks.map((look, index) => ({ ...look, atMs: index * 10_000 }));
        const forecast = queueForecast(samples, limit);
        if (forecast === undefined) return;
        expect(forecast.share).toBeGreaterThanOrEqual(0);
        expect(forecast.share).toBeLessThanOrEqual(1);
        if (forecast.minutesLeft !== undefined) {
          expect(Number.isFinite(forecast.minutesLeft)).toBe(true);
          expect(forecast.minutesLeft).toBeGreaterThanOrEqual(0);
        }
      }),
    );
  });
});

describe('queues by broker', () => {
  it('are judged by the looks of the last minute, each broker by its own', () => {
    const queues = new BrokerQueues(MESSAGES);
    queues.take('a', held(0, 0));
    for (let look = 0; look <= 6; look += 1) queues.take('a', held(100_000 + look * 10_000, 100_000 + look * 1_000));
    queues.take('b', sample(160_000));
    const forecasts = queues.forecasts();
    expect(forecasts.get('a')?.share).toBeCloseTo(0.106);
    expect(forecasts.get('a')?.minutesLeft).toBeCloseTo(894_000 / 100 / 60);
    expect(forecasts.get('b')).toEqual({ share: 0, minutesLeft: undefined });
  });

  it('are forgotten with the connection: a broker that comes back may begin anew', () => {
    const queues = new BrokerQueues(MESSAGES);
    queues.take('a', held(0, 5));
    queues.forget('a');
    expect([...queues.forecasts()]).toEqual([]);
  });
});
