import { describe, expect, it } from 'vitest';
import {
  FleetView,
  holdUntilMs,
  outageOf,
  silentSinceMs,
  type BrokerCondition,
  type DeviceFacts,
  type Outage,
  type OutageRecord,
} from './fleet-view.ts';

const GRACE_MS = 60;
const away: BrokerCondition = { kind: 'away', sinceMs: 900 };
const there = (connectedMs: number, bootedMs: number | null): BrokerCondition => ({
  kind: 'there',
  connectedMs,
  bootedMs,
});
const facts = (state: DeviceFacts['state'], more: Partial<DeviceFacts> = {}): DeviceFacts => ({
  state,
  sinceMs: 100,
  broker: 'b',
  wakeExpectedMs: null,
  ...more,
});

describe('the loss of a device behind a broker', () => {
  it.each<[string, BrokerCondition | undefined, number]>([
    ['that nobody knows is news', undefined, 0],
    ['that is away is no news', away, Number.POSITIVE_INFINITY],
    ['that was just started is no news for a grace (P6)', there(1_000, 990), 1_050],
    ['that has run for long is news, also when only we had lost it', there(1_000, 5), 65],
    ['that does not tell its uptime is no news for a grace after we are back', there(1_000, null), 1_060],
  ])('%s', (_, condition, untilMs) => {
    expect(holdUntilMs(condition, GRACE_MS)).toBe(untilMs);
  });
});

describe('a broker that is there again', () => {
  const awayAt = (sinceMs: number | null): BrokerCondition => ({ kind: 'away', sinceMs });
  it.each<[string, BrokerCondition | undefined, BrokerCondition, Outage | undefined]>([
    ['had ended when it was started since', awayAt(50_000), there(60_000, 59_000), { fromMs: 47_000, untilMs: 62_000 }],
    ['had not when it has run all the time', awayAt(50_000), there(60_000, 5_000), undefined],
    ['may have when it does not tell', awayAt(50_000), there(60_000, null), { fromMs: 47_000, untilMs: 63_000 }],
    ['ended before we looked', awayAt(null), there(60_000, 50_000), { fromMs: 49_940, untilMs: 53_000 }],
    ['was there when we began, for all we know', awayAt(null), there(60_000, null), undefined],
    ['only tells its uptime later', there(60_000, null), there(60_000, 59_000), undefined],
  ])('%s', (_, before, after, outage) => {
    expect(outageOf(before, after, GRACE_MS)).toEqual(outage);
  });

  it('has one outage for each start, over all connections and restarts of ours', () => {
    const outages: OutageRecord[] = [];
    for (let process = 0; process < 3; process += 1) {
      const fleet = new FleetView(GRACE_MS, (outage) => outages.push(outage));
      for (const outage of outages) fleet.restoreOutage(outage);
      fleet.setBroker('b', awayAt(null));
      fleet.setBroker('b', there(100_000, 50_000 + process));
      fleet.setBroker('b', awayAt(200_000));
      fleet.setBroker('b', there(200_100, 50_009));
    }
    expect(outages).toEqual([{ broker: 'b', fromMs: 49_940, untilMs: 53_000 }]);
  });
});

describe('silence of a device', () => {
  it.each<[string, DeviceFacts | undefined, BrokerCondition | undefined, number | undefined]>([
    ['counts from when it was last heard', undefined, undefined, 50],
    ['counts from its birth', facts('online'), undefined, 100],
    ['does not count when it is lost: that is another alert', facts('lost'), undefined, undefined],
    ['does not count when it has said goodbye', facts('offline'), undefined, undefined],
    ['counts from when it wanted to wake', facts('asleep', { wakeExpectedMs: 700 }), undefined, 700],
    ['of a sleeper that said no time counts from when it was heard', facts('asleep'), undefined, 50],
    ['does not count while its broker is away', facts('online'), away, undefined],
    ['counts from when its broker was started', facts('online'), there(900, 400), 400],
    ['counts from when its broker was back, where that is all we know', facts('online'), there(900, null), 900],
    ['goes on when only we had lost the broker', facts('online'), there(900, 5), 100],
  ])('%s', (_, device, broker, sinceMs) => {
    expect(silentSinceMs(50, device, broker)).toBe(sinceMs);
  });

  it.each<[string, DeviceFacts | undefined, number | undefined]>([
    ['is connected counts from its birth', facts('online'), 100],
    ['sleeps counts from when it wanted to wake', facts('asleep', { wakeExpectedMs: 700 }), 700],
    ['sleeps and said no time counts from its goodbye', facts('asleep'), 100],
    ['is lost does not count', facts('lost'), undefined],
    ['nobody knows anything of does not count', undefined, undefined],
  ])('and was never heard and %s', (_, device, sinceMs) => {
    expect(silentSinceMs(undefined, device, there(90, 5))).toBe(sinceMs);
  });
});

describe('the fleet', () => {
  it('counts the devices behind each broker, wherever they move', () => {
    const fleet = new FleetView(GRACE_MS);
    for (const device of ['x', 'y', 'z']) fleet.setDevice(device, facts('online'));
    fleet.setDevice('x', facts('lost'));
    fleet.setDevice('y', facts('online', { broker: 'other' }));
    fleet.forget('z');
    fleet.forget('never-there');
    expect([fleet.devicesBehind('b'), fleet.devicesBehind('other'), fleet.devicesBehind('none')]).toEqual([1, 1, 0]);
  });

  it('holds back what is behind a broker that is away, and nothing else', () => {
    const fleet = new FleetView(GRACE_MS);
    fleet.setDevice('x', facts('lost'));
    fleet.setDevice('y', facts('lost', { broker: null }));
    fleet.setBroker('b', away);
    expect([fleet.holdUntilMs('b'), fleet.holdUntilMs(null), fleet.holdUntilMs('unknown')]).toEqual([Infinity, 0, 0]);
    expect(fleet.silentSinceMs('x', 10)).toBeUndefined();
  });
});
