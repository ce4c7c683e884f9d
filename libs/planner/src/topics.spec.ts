import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { topics } from './topics.ts';

describe('a topic hierarchy', () => {
  it("has the four topics of the course's Lab 1: two readings, status and command", () => {
    expect(topics.answer({ domain: 'course' }).figures.topics).toMatchObject({ course: 2, honest: 4 });
  });

  it('multiplies its levels', () => {
    const { figures, lists } = topics.answer({ root: 'home', levels: 'room=8,device=3,metric=2' });
    expect(figures.topics).toMatchObject({ course: 48, honest: 48 + 24 * 2 });
    expect(figures.devices.honest).toBe(24);
    expect(figures.retainedMessages.honest).toBe(24);
    expect(lists).toEqual([
      {
        title: 'How it grows',
        items: [
          'home/{room}  room: 8',
          'home/{room}/{device}  device: 24',
          'home/{room}/{device}/{metric}  metric: 48',
        ],
      },
      {
        title: 'Subscribe to',
        items: [
          'home/#  everything (48)',
          'home/room-1/#  everything of one room (6)',
          'home/room-1/device-1/#  everything of one device (2)',
          'home/+/+/metric-1  one metric everywhere (24)',
        ],
      },
    ]);
  });

  it('counts the bytes that topics are on the wire', () => {
    const { figures } = topics.answer({ root: 'home', levels: 'room=8,metric=2', payloadBytes: 5 });
    expect(figures.topicBytes.honest).toBe('home/room-8/metric-2'.length);
    expect(figures.longestTopicBytes.honest).toBe(4 + 2 * 65);
    expect(figures.topicPercent.honest).toBeCloseTo((20 / 29) * 100, 9);
    expect(figures.topicBytesPerDay.honest).toBe(16 * 1_440 * 20);
  });

  it.each([
    ['root', { root: '$SYS' }],
    ['root', { root: 'muster' }],
    ['root', { root: '' }],
    ['root', { root: 'a/b' }],
    ['root', { root: '+' }],
    ['root', { root: 'ü' }],
    ['root', { root: 'x'.repeat(65) }],
    ['root', { root: 7 }],
    ['levels', { levels: '' }],
    ['levels', { levels: 'room' }],
    ['levels', { levels: 'room=0' }],
    ['levels', { levels: 'room=-1' }],
    ['levels', { levels: 'room=1e3' }],
    ['levels', { levels: 'room=8,' }],
    ['levels', { levels: 'room=8,room=2' }],
    ['levels', { levels: 'ro/om=8' }],
    ['levels', { levels: '#=8' }],
    ['levels', { levels: 'a=99999999,b=99999999' }],
    ['levels', { levels: Array.from({ length: 200 }, (_, index) => `l${index}=1`).join(',') }],
    ['levels', { levels: 'x'.repeat(30_000) }],
    ['domain', { domain: 'moon' }],
  ])('refuses %s of %o', (field, input) => {
    expect(() => topics.answer(input)).toThrow(new RegExp(`^${field}: expected .*; found `));
  });

  it('takes as many levels as Mosquitto does', () => {
    const levels = Array.from({ length: 199 }, (_, index) => `l${index}=1`).join(',');
    expect(topics.answer({ levels }).figures.topics.course).toBe(1);
  });

  it('never gets smaller with more of a level, and answers to any text', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 5 }),
        fc.string(),
        (counts, text) => {
          const levels = counts.map((count, index) => `l${index}=${count}`).join(',');
          const more = counts.map((count, index) => `l${index}=${count + 1}`).join(',');
          const amount = (value: string): number => topics.answer({ levels: value }).figures.topics.honest ?? 0;
          expect(amount(more)).toBeGreaterThan(amount(levels));
          expect(topics.answer({ levels }).figures.topics.course).toBe(
            counts.reduce((product, count) => product * count, 1),
          );
          if (!/^[\w-]{1,64}=\d{1,8}(?:,|$)/.test(text.trim()))
            expect(() => topics.answer({ levels: text })).toThrow('levels: ');
        },
      ),
    );
  });
});
