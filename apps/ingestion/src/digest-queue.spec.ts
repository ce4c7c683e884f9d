import { deviceId, type DigestReading } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { DigestQueue, MAX_DIGEST_READINGS } from './digest-queue.ts';

const reading = (atMs: number): DigestReading => ({
  device: deviceId('a'),
  metric: 'temp',
  value: 1,
  unit: null,
  atMs,
  qos: 1,
  late: false,
});

describe('the queue of a digest', () => {
  it('wants what any consumer wants, and no longer what one has taken back', () => {
    const queue = new DigestQueue();
    expect(queue.wants('temp')).toBe(false);
    queue.interested('automation', new Set(['temp']));
    queue.interested('alerting', new Set(['hum']));
    expect([queue.wants('temp'), queue.wants('hum'), queue.wants('vbat')]).toEqual([true, true, false]);
    queue.interested('registry', '*');
    expect(queue.wants('vbat')).toBe(true);
    queue.interested('registry', undefined);
    queue.interested('alerting', undefined);
    expect([queue.wants('temp'), queue.wants('hum'), queue.wants('vbat')]).toEqual([true, false, false]);
  });

  it('numbers batches without a gap and keeps the order', () => {
    const queue = new DigestQueue();
    const full = Array.from({ length: MAX_DIGEST_READINGS + 1 }, (_, index) => queue.add(reading(index)));
    expect(full.indexOf(true)).toBe(MAX_DIGEST_READINGS - 1);
    const [first, second, third] = [queue.take(), queue.take(), queue.take()];
    expect([first?.number, second?.number, third]).toEqual([1, 2, undefined]);
    expect([...(first?.readings ?? []), ...(second?.readings ?? [])].map(({ atMs }) => atMs)).toEqual(
      full.map((_, index) => index),
    );
  });

  it('gives the oldest up when nothing can be sent, so that consumers see a gap', () => {
    const queue = new DigestQueue();
    for (let index = 0; index <= 20_000; index += 1) queue.add(reading(index));
    expect(queue.length).toBe(10_001);
    const batch = queue.take();
    expect([batch?.number, batch?.readings[0]?.atMs]).toEqual([2, 10_000]);
  });
});
