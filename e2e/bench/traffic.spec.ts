import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { payloadOf, topicOf } from './traffic.ts';

const indices = fc.nat({ max: 10_000_000 });
const times = fc.integer({ min: 1_600_000_000_000, max: 2_000_000_000_000 });
const counts = fc.integer({ min: 10_000_000, max: 99_999_999 });

describe('the telemetry of benches', () => {
  it('has sixty bytes, whatever it says', () => {
    fc.assert(fc.property(indices, times, counts, (index, timeMs, seq) => payloadOf(index, timeMs, seq).length === 60));
  });

  it('says the time and the count that it is given', () => {
    fc.assert(
      fc.property(indices, times, counts, (index, timeMs, seq) => {
        expect(JSON.parse(payloadOf(index, timeMs, seq))).toMatchObject({ ts: timeMs, seq });
      }),
    );
  });

  it('has topics of one length', () => {
    expect(topicOf('devices', 7)).toBe('devices/bench-00007/telemetry');
    expect(topicOf('devices', 99_999)).toHaveLength(topicOf('devices', 0).length);
  });
});
