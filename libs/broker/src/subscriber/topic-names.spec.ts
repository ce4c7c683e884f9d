import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TopicNames } from './topic-names.ts';

describe('the names of topics', () => {
  it('are what their bytes say, however often and in whichever order they come', () => {
    const names = new TopicNames();
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.string({ unit: 'binary', maxLength: 40 }).map((text) => Buffer.from(text)),
      fc.nat(2_000).map((number) => Buffer.from(`devices/dev-${number}/telemetry`)),
    );
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 50 }), fc.nat(20), (topics, before) => {
        for (const topic of topics) {
          const block = Buffer.concat([Buffer.alloc(before, 0x41), topic, Buffer.from('{"temp":1}')]);
          expect(names.name(block, before, before + topic.length)).toBe(Buffer.from(topic).toString());
        }
      }),
      { numRuns: 300 },
    );
  });

  it('that share a place do not get into each other’s way', () => {
    const names = new TopicNames();
    // Java's string hash, of which these are a known collision.
    for (const topic of ['AaAa', 'BBBB', 'AaBB', 'AaAa']) {
      expect(names.name(Buffer.from(topic), 0, topic.length)).toBe(topic);
    }
  });
});
