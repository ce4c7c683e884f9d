import { maintenanceScheduleSchema, type MaintenanceSchedule } from '@muster/contract';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkSchedule, Mutes, positionOf } from './mutes.ts';

const at = (text: string): number => Date.parse(text);
const schedule = (given: Record<string, string>): MaintenanceSchedule => maintenanceScheduleSchema.parse(given);
const saturdays = schedule({ cron: '0 22 * * 6', duration: '4h', timeZone: 'Europe/Berlin' });
const once = schedule({ from: '2027-03-01T22:00:00Z', until: '2027-03-01T23:00:00Z' });

describe('a maintenance window', () => {
  it.each<[string, MaintenanceSchedule, string, boolean]>([
    ['is closed before it begins', once, '2027-03-01T21:59:59Z', false],
    ['is open from its beginning', once, '2027-03-01T22:00:00Z', true],
    ['is closed at its end', once, '2027-03-01T23:00:00Z', false],
    ['by cron is meant in its time zone', saturdays, '2027-01-30T21:00:00Z', true],
    ['is not open before that', saturdays, '2027-01-30T20:59:59Z', false],
    ['reaches into the next day', saturdays, '2027-01-31T00:59:59Z', true],
    ['ends there', saturdays, '2027-01-31T01:00:00Z', false],
    ['follows summer time', saturdays, '2027-07-31T20:00:00Z', true],
    [
      'that overlaps itself is always open',
      schedule({ cron: '0 * * * *', duration: '90m' }),
      '2027-07-31T20:45:00Z',
      true,
    ],
  ])('%s', (_, given, time, isOpen) => {
    expect(positionOf(given, at(time)).isOpen).toBe(isOpen);
  });

  it('changes its position only at the time that it tells', () => {
    fc.assert(
      fc.property(fc.integer({ min: at('2027-03-20T00:00:00Z'), max: at('2027-04-10T00:00:00Z') }), (nowMs) => {
        const { isOpen, changesMs } = positionOf(saturdays, nowMs);
        expect(positionOf(saturdays, (changesMs ?? 0) - 1).isOpen).toBe(isOpen);
        expect(positionOf(saturdays, changesMs ?? 0).isOpen).toBe(!isOpen);
      }),
    );
  });

  it.each<[string, Record<string, string>, RegExp]>([
    ['no cron expression', { cron: 'every day at 8', duration: '1h' }, /minute, hour/],
    ['one with seconds', { cron: '0 0 22 * * 6', duration: '1h' }, /minute, hour/],
    ['a day that never comes', { cron: '0 22 30 2 *', duration: '1h' }, /no such time/],
    ['no length', { cron: '0 22 * * *', duration: '0s' }, /at least 1m/],
    ['an end in the past', { from: '2020-01-01T00:00:00Z', until: '2020-01-02T00:00:00Z' }, /to come/],
  ])('with %s is refused', (_, given, message) => {
    expect(() => checkSchedule(schedule(given), at('2027-01-01T00:00:00Z'))).toThrow(message);
  });

  it('needs a time zone that there is, and an end after its beginning', () => {
    expect(
      maintenanceScheduleSchema.safeParse({ cron: '0 1 * * *', duration: '1h', timeZone: 'Mars/Olympus' }).success,
    ).toBe(false);
    expect(
      maintenanceScheduleSchema.safeParse({ from: '2027-01-02T00:00:00Z', until: '2027-01-01T00:00:00Z' }).success,
    ).toBe(false);
  });
});

describe('mutes', () => {
  const entry = { why: 'works', who: 'anna', createdMs: 0 };
  const labels = { rule: 'lost', device: 'cellar-1' };

  it('name what an alert is muted by, while it holds', () => {
    const mutes = new Mutes();
    mutes.silences.set('s1', { ...entry, id: 's1', matchers: { device: 'cellar-*' }, fromMs: 100, untilMs: 200 });
    expect([99, 100, 199, 200].map((nowMs) => mutes.muteOf(labels, nowMs))).toEqual([null, 's1', 's1', null]);
    expect(mutes.muteOf({ ...labels, device: 'attic' }, 150)).toBeNull();
    expect([0, 100, 150, 200].map((nowMs) => mutes.nextChangeMs(nowMs))).toEqual([100, 200, 200, undefined]);
  });

  it('know windows by their names, and forget them', () => {
    const mutes = new Mutes();
    mutes.setWindow({ ...entry, name: 'works', matchers: { rule: '*' }, schedule: once });
    const openMs = at('2027-03-01T22:30:00Z');
    expect(mutes.nextChangeMs(at('2027-03-01T00:00:00Z'))).toBe(at('2027-03-01T22:00:00Z'));
    expect(mutes.muteOf(labels, openMs)).toBe('maintenance works');
    expect([mutes.removeWindow('works'), mutes.removeWindow('works')]).toEqual([true, false]);
    expect(mutes.muteOf(labels, openMs)).toBeNull();
  });
});
