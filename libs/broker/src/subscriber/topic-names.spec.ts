import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NOT_REMEMBERED, TopicNames } from './topic-names.ts';

/** The name that is remembered for a topic; undefined where none is. */
function rememberedName(names: TopicNames, topic: string | Uint8Array): string | undefined {
  const bytes = Buffer.from(topic);
  const block = Buffer.concat([Buffer.from('A'), bytes, Buffer.from('{"temp":1}')]);
  const number = names.number(block, 1, 1 + bytes.length);
  return number === NOT_REMEMBERED ? undefined : names.name(number);
}

function numberOf(names: TopicNames, topic: string): number {
  return names.number(Buffer.from(topic), 0, topic.length);
}

describe('the names of topics', () => {
  it('are what their bytes say, however often and in whichever order they come', () => {
    const names = new TopicNames();
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.string({ unit: 'binary', maxLength: 40 }).map((text) => Buffer.from(text)),
      fc.nat(2_000).map((number) => Buffer.from(`devices/dev-${number}/telemetry`)),
    );
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 50 }), (topics) => {
        for (const topic of topics)
          expect(rememberedName(names, topic) ?? Buffer.from(topic).toString()).toBe(Buffer.from(topic).toString());
      }),
      { numRuns: 300 },
    );
  });

  it('keep their numbers while thousands of others come, but for a few that find no place near enough', () => {
    const names = new TopicNames();
    const topics = Array.from({ length: 20_000 }, (_, index) => `devices/dev-${index}/telemetry`);
    const numbers = topics.map((topic) => numberOf(names, topic));
    const kept = topics.filter((topic, index) => numberOf(names, topic) === numbers[index]);
    expect(kept.length).toBeGreaterThan(0.999 * topics.length);
    for (const topic of topics) expect(rememberedName(names, topic) ?? topic).toBe(topic);
  });

  it('that share a place do not get into each other’s way', () => {
    const names = new TopicNames();
    // Java's string hash, of which these are a known collision.
    for (const topic of ['AaAa', 'BBBB', 'AaBB', 'AaAa', 'BBBB']) expect(rememberedName(names, topic)).toBe(topic);
  });

  it('with one hash are remembered a few at a time, and the others cost no search', () => {
    const names = new TopicNames();
    const pairs = (length: number): string[] =>
      length === 0 ? [''] : pairs(length - 1).flatMap((rest) => [`Aa${rest}`, `BB${rest}`]);
    const topics = pairs(10);
    const known = topics.filter((topic) => rememberedName(names, topic) !== undefined);
    expect(known.length).toBeGreaterThan(0);
    expect(known.length).toBeLessThanOrEqual(8);
    for (const topic of known) expect(rememberedName(names, topic)).toBe(topic);
  });

  it('are forgotten when there are too many, and entered again', () => {
    const names = new TopicNames();
    for (let index = 0; index < 140_000; index += 1) {
      const topic = `devices/dev-${index}/telemetry`;
      expect(rememberedName(names, topic) ?? topic).toBe(topic);
    }
    expect(numberOf(names, 'devices/dev-0/telemetry')).toBeLessThan(10_000);
    expect(rememberedName(names, 'devices/dev-0/telemetry')).toBe('devices/dev-0/telemetry');
  });

  it('of more than 256 bytes, or with other letters than ASCII, are not remembered', () => {
    const names = new TopicNames();
    expect(rememberedName(names, 'x'.repeat(257))).toBeUndefined();
    expect(rememberedName(names, 'küche')).toBeUndefined();
  });
});
