import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { budget, cost } from './cost.ts';

describe('message cost with publish on change', () => {
  const { figures } = cost.answer({ devices: 50, sampleIntervalSeconds: 5, changesPerDay: 72, heartbeatSeconds: 300 });

  it.each([
    ['messages a month at every sample, 25.9 M', figures.messagesPerMonth.course, 25_900_000],
    ['messages a month on change', figures.messagesPerMonthOnChange.course, 540_000],
    ['dollars before: 25.90 and 70 for the broker', Number(figures.dollarsPerMonth.course?.toFixed(2)), 95.9],
    ['dollars on change: 0.54 and 15', Number(figures.dollarsPerMonthOnChange.course?.toFixed(2)), 15.54],
    ['saving, of which the course prints 83 %', Number(figures.savingPercent.course?.toFixed(1)), 83.8],
    ['saving as the course prints it', Math.floor(figures.savingPercent.course ?? 0), 83],
    ['bandwidth saved, 98 %', Math.round(figures.messageSavingPercent.course ?? 0), 98],
  ])('has the figure of the course: %s', (_, actual, printed) => {
    expect(actual).toBe(printed);
  });

  it('publishes 360 times a day instead of 17,280, 48 times less, as in the course', () => {
    const one = cost.answer({ devices: 1 }).figures;
    expect((one.messagesPerMonth.honest ?? 0) / 30).toBeCloseTo(17_280, 9);
    expect((one.messagesPerMonthOnChange.honest ?? 0) / 30).toBeCloseTo(360, 9);
  });

  it('honestly counts 25,920,000 messages, deliveries, connections and minutes', () => {
    expect(figures.messagesPerMonth.honest).toBe(25_920_000);
    // 25.92 for the messages, the same for one delivery each, 1,500 connections, 2.16 million minutes at 0.08.
    expect(figures.dollarsPerMonth.honest).toBeCloseTo(70 + 25.92 + 25.92 + 0.0015 + 2.16 * 0.08, 9);
    expect(figures.dollarsPerMonth.adds.map(({ name }) => name)).toEqual([
      'messages that the course rounds off',
      'minimum billed size: 50 bytes count as 5,120',
      'deliveries, 1 for each message',
      'connections, 1 a day and device',
      'minutes of connection',
    ]);
  });

  it.each([
    [1, 1],
    [5_120, 1],
    [5_121, 2],
    [131_072, 26],
  ])('bills %i bytes as %i messages of 5 KB', (messageBytes, steps) => {
    const free = { subscribers: 0, connectsPerDay: 0, dollarsPerMillionMinutes: 0, brokerDollarsPerMonth: 0 };
    expect(cost.answer({ ...free, messageBytes }).figures.dollarsPerMonth.honest).toBeCloseTo(25.92 * steps, 9);
  });

  it('counts the acknowledgements of subscribers at QoS 1', () => {
    const dollars = (qos: number): number => cost.answer({ qos, subscribers: 2 }).figures.dollarsPerMonth.honest ?? 0;
    expect(dollars(1) - dollars(0)).toBeCloseTo(2 * 25.92, 9);
  });

  it('never sends more than there are samples', () => {
    const { messagesPerMonth, messagesPerMonthOnChange } = cost.answer({
      sampleIntervalSeconds: 600,
      heartbeatSeconds: 1,
    }).figures;
    expect(messagesPerMonthOnChange.honest).toBe(messagesPerMonth.honest);
    expect(() => cost.answer({ sampleIntervalSeconds: 3_600, changesPerDay: 25 })).toThrow(
      'changesPerDay: expected at most 24, the samples a day; found 25',
    );
  });

  it('says that the price of a broker is not what publish on change saves', () => {
    expect(cost.answer({}).notes.join(' ')).toMatch(
      /10 messages a second keep a Mosquitto busy for 0\.012 % of a core/,
    );
  });

  it('never costs less with more devices, and never more with a longer heartbeat', () => {
    const heartbeat = fc.double({ min: 1, max: 100_000, noNaN: true });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100_000 }), fc.tuple(heartbeat, heartbeat), (devices, [one, other]) => {
        const dollars = (count: number, heartbeatSeconds: number): number =>
          cost.answer({ devices: count, heartbeatSeconds }).figures.dollarsPerMonthOnChange.honest ?? 0;
        const often = dollars(devices, Math.min(one, other));
        expect(dollars(devices + 1, Math.min(one, other))).toBeGreaterThan(often);
        expect(dollars(devices, Math.max(one, other))).toBeLessThanOrEqual(often + 1e-9);
      }),
    );
  });
});

describe('devices within a monthly bill', () => {
  it('is the inverse of the cost: one device more does not fit', () => {
    const input = fc.record({
      dollarsPerMonth: fc.double({ min: 16, max: 10_000, noNaN: true }),
      heartbeatSeconds: fc.double({ min: 10, max: 100_000, noNaN: true }),
      subscribers: fc.integer({ min: 0, max: 5 }),
      messageBytes: fc.integer({ min: 1, max: 20_000 }),
    });
    fc.assert(
      fc.property(input, ({ dollarsPerMonth, ...traffic }) => {
        const { honest } = budget.answer({ dollarsPerMonth, ...traffic }).figures.devices;
        const dollars = (devices: number): number =>
          cost.answer({ devices, ...traffic }).figures.dollarsPerMonthOnChange.honest ?? 0;
        if (honest !== null && honest >= 1) expect(dollars(honest)).toBeLessThanOrEqual(dollarsPerMonth + 1e-6);
        expect(dollars((honest ?? 0) + 1)).toBeGreaterThan(dollarsPerMonth - 1e-6);
      }),
    );
  });

  it('is none where the broker costs all of it', () => {
    expect(budget.answer({ dollarsPerMonth: 15 }).figures.devices).toMatchObject({ course: 0, honest: 0 });
  });
});
