import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PlannerError } from './calculator.ts';
import { publishAdvice, type MetricHistory, type PublishAdvice, type PublishTerms } from './publish-advice.ts';

const terms: PublishTerms = { heartbeatMs: Infinity, messageBytes: 50, dollarsPerMillionMessages: 1 };

/** A metric that was sampled every second. */
function everySecond(values: readonly number[], deadBand: number, metric = 'temp'): MetricHistory {
  return { metric, timesMs: values.map((_, index) => index * 1_000), values, deadBand };
}

function adviceFor(values: readonly number[], deadBand: number, heartbeatMs = Infinity): PublishAdvice {
  return publishAdvice([everySecond(values, deadBand)], { ...terms, heartbeatMs });
}

describe('publishing on change', () => {
  it.each<[string, readonly number[], number, number, number]>([
    ['sends nothing of nothing', [], 1, Infinity, 0],
    ['sends the first value', [20], 1, Infinity, 1],
    ['saves what stays', [20, 20, 20], 0, Infinity, 1],
    ['sends what differs by more than the dead-band', [20, 20.5, 21, 21.1], 1, Infinity, 2],
    ['saves what differs by the dead-band, whatever floats make of it', [20, 20.1, 20, 20.1], 0.1, Infinity, 1],
    ['compares with the value that was sent, so that a slow change is seen', [0, 0.6, 1.2, 1.8, 2.4], 1, Infinity, 3],
    ['sends a heartbeat at the first sample that is due', [20, 20, 20, 20, 20, 20], 1, 1_500, 3],
    ['counts the heartbeat from the last message', [20, 20, 30, 30, 30, 30], 1, 3_000, 3],
  ])('%s', (_, values, deadBand, heartbeatMs, messages) => {
    expect(adviceFor(values, deadBand, heartbeatMs).onChange.messages).toBe(messages);
  });

  it('tells what it saves, and the error that it makes', () => {
    const history = { metric: 'temp', timesMs: [0, 1_000, 4_000, 5_000], values: [20, 20.5, 22, 22.2], deadBand: 1 };
    const { errors, ...rest } = publishAdvice([history], { ...terms, dollarsPerMillionMessages: 2_000_000 });
    expect(rest).toEqual({
      coveredMs: 5_000,
      everySample: { messages: 4, bytes: 200, dollars: 8 },
      onChange: { messages: 2, bytes: 100, dollars: 4 },
      saved: { messages: 2, bytes: 100, dollars: 4 },
    });
    // 0.5 for three of five seconds; the 0.2 at the end stands for no time that is known.
    expect(errors).toEqual([{ metric: 'temp', maximum: 0.5, mean: 0.3 }]);
  });

  it('sends a whole message when any of its metrics asks for it', () => {
    const { onChange, everySample, errors } = publishAdvice(
      [everySecond([20, 20.4, 20.8], 1), everySecond([40, 50, 50], 5, 'hum')],
      terms,
    );
    expect([everySample.messages, onChange.messages]).toEqual([3, 2]);
    // The temperature went with the humidity: its error begins anew at 20.4.
    expect(errors.map(({ metric, maximum }) => [metric, maximum.toFixed(3)])).toEqual([
      ['temp', '0.400'],
      ['hum', '0.000'],
    ]);
  });

  it('takes values of different times for different messages', () => {
    const rare = { metric: 'vbat', timesMs: [500, 1_000, 2_500], values: [3.9, 3.9, 3.9], deadBand: 0 };
    const { onChange, everySample, coveredMs } = publishAdvice([everySecond([1, 1, 1], 0), rare], terms);
    expect({ onChange: onChange.messages, everySample: everySample.messages, coveredMs }).toEqual({
      onChange: 2,
      everySample: 5,
      coveredMs: 2_500,
    });
  });

  it.each<[string, readonly MetricHistory[], Partial<PublishTerms>, string]>([
    [
      'times that do not ascend',
      [{ metric: 'a', timesMs: [1, 1], values: [1, 2], deadBand: 0 }],
      {},
      'a: expected times',
    ],
    [
      'a time that is none',
      [{ metric: 'a', timesMs: [Number.NaN], values: [1], deadBand: 0 }],
      {},
      'a: expected times',
    ],
    ['fewer values', [{ metric: 'a', timesMs: [1, 2], values: [1], deadBand: 0 }], {}, 'a: expected a value for each'],
    [
      'a value that is none',
      [{ metric: 'a', timesMs: [1], values: [Infinity], deadBand: 0 }],
      {},
      'a: expected finite',
    ],
    ['a negative dead-band', [everySecond([1], -1)], {}, 'temp: expected a dead-band'],
    ['no heartbeat', [], { heartbeatMs: 0 }, 'heartbeatMs: expected more than 0'],
    ['negative bytes', [], { messageBytes: -1 }, 'messageBytes: expected'],
    ['a price that is none', [], { dollarsPerMillionMessages: Number.NaN }, 'dollarsPerMillionMessages: expected'],
  ])('refuses %s', (_, histories, change, message) => {
    expect(() => publishAdvice(histories, { ...terms, ...change })).toThrow(PlannerError);
    expect(() => publishAdvice(histories, { ...terms, ...change })).toThrow(message);
  });
});

const values = fc.array(fc.oneof(fc.integer({ min: -5, max: 5 }), fc.double({ min: -50, max: 150, noNaN: true })), {
  maxLength: 60,
});
const deadBand = fc.oneof(fc.constantFrom(0, 0.1, 0.5, 1), fc.double({ min: 0, max: 20, noNaN: true }));
/** Some of the seconds of a minute, with a value for each. */
const history = fc
  .tuple(fc.subarray(Array.from({ length: 60 }, (_, index) => index * 1_000)), values, deadBand)
  .map(([seconds, found, band]) => {
    const length = Math.min(seconds.length, found.length);
    return { metric: 'm', timesMs: seconds.slice(0, length), values: found.slice(0, length), deadBand: band };
  });
const heartbeatMs = fc.oneof(fc.constant(Infinity), fc.integer({ min: 1, max: 20_000 }));

describe('whatever has been stored', () => {
  it('without a dead-band and a heartbeat only repeated values are saved, and there is no error', () => {
    fc.assert(
      fc.property(values, (stored) => {
        const { saved, errors } = adviceFor(stored, 0);
        expect(saved.messages).toBe(stored.filter((value, index) => index > 0 && value === stored[index - 1]).length);
        expect(errors).toEqual([{ metric: 'temp', maximum: 0, mean: 0 }]);
      }),
    );
  });

  it('the error is at most the dead-band, the mean at most the maximum, and what is sent and saved is all', () => {
    fc.assert(
      fc.property(fc.array(history, { maxLength: 4 }), heartbeatMs, (histories, heartbeat) => {
        const advice = publishAdvice(histories, { ...terms, heartbeatMs: heartbeat });
        for (const [index, { maximum, mean }] of advice.errors.entries()) {
          expect(maximum).toBeLessThanOrEqual((histories[index]?.deadBand ?? 0) * (1 + 1e-9));
          expect(mean).toBeGreaterThanOrEqual(0);
          expect(mean).toBeLessThanOrEqual(maximum * (1 + 1e-9));
        }
        const times = new Set(histories.flatMap(({ timesMs }) => timesMs));
        expect(advice.everySample.messages).toBe(times.size);
        expect(advice.onChange.messages + advice.saved.messages).toBe(times.size);
        expect(advice.onChange.messages).toBeGreaterThanOrEqual(Math.min(1, times.size));
      }),
    );
  });

  it('one metric is sent as a device would send it, sample by sample', () => {
    fc.assert(
      fc.property(history, heartbeatMs, (stored, heartbeat) => {
        const sent: { readonly timeMs: number; readonly value: number }[] = [];
        const errors: number[] = [];
        for (const [index, value] of stored.values.entries()) {
          const timeMs = stored.timesMs[index] ?? 0;
          const last = sent.at(-1);
          if (
            last === undefined ||
            timeMs - last.timeMs >= heartbeat ||
            Math.abs(value - last.value) > stored.deadBand * (1 + 1e-9)
          ) {
            sent.push({ timeMs, value });
          }
          errors.push(Math.abs(value - (sent.at(-1)?.value ?? 0)));
        }
        const advice = publishAdvice([stored], { ...terms, heartbeatMs: heartbeat });
        expect(advice.onChange.messages).toBe(sent.length);
        expect(advice.errors[0]?.maximum).toBe(Math.max(0, ...errors));
      }),
    );
  });

  it('a wider dead-band of a metric that only rises never sends more', () => {
    fc.assert(
      fc.property(values, deadBand, deadBand, (stored, one, other) => {
        const rising = stored.toSorted((a, b) => a - b);
        const [narrow, wide] = [Math.min(one, other), Math.max(one, other)];
        expect(adviceFor(rising, wide).onChange.messages).toBeLessThanOrEqual(
          adviceFor(rising, narrow).onChange.messages,
        );
      }),
    );
  });
});
