import fc from 'fast-check';
import { deviceId, type Reading } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { LineBlock } from './line-block.ts';
import { splitLines, telemetryLine } from './line-protocol.ts';

describe('a block of lines', () => {
  it('has nothing at first', () => {
    const block = new LineBlock();
    expect([block.count, block.byteLength, block.bytes.toString(), block.line(0)]).toEqual([0, 0, '', '']);
  });

  it('gives back what was put into it: each line by its number, and all as one text', () => {
    const line = fc.string({ unit: 'binary', minLength: 1, maxLength: 3_000 }).filter((text) => text.isWellFormed());
    fc.assert(
      fc.property(fc.array(line, { minLength: 1, maxLength: 20 }), (lines) => {
        const block = new LineBlock();
        for (const one of lines) block.add(one);
        expect(lines.map((_, number) => block.line(number))).toEqual(lines);
        expect(block.bytes.toString()).toBe(lines.join('\n'));
        expect(block.byteLength).toBe(Buffer.byteLength(lines.join('\n')) + 1);
        expect(block.count).toBe(lines.length);
      }),
    );
  });

  it('is read as the lines that were put into it, also where a text in quotes has line breaks', () => {
    const lines = ['telemetry,device=a x_text="two\nlines" 1', 'telemetry,device=b temp=1 2'];
    const block = new LineBlock();
    for (const line of lines) block.add(line);
    expect(splitLines(block.bytes.toString())).toEqual(lines);
  });

  it('has of a message the very line that its definition gives, whatever is in it', () => {
    const number = fc.oneof(
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.integer(),
      fc.maxSafeInteger(),
      // As sensors send them: some decimals.
      fc.tuple(fc.integer({ min: -1e9, max: 1e9 }), fc.nat(6)).map(([whole, places]) => whole / 10 ** places),
      fc.constantFrom(0, -0, 1e21, 1e-7, 5e-324, 0.001, -0.001, 0.0005, 1e12, 1e15, 999_999_999_999.999, 0.1 + 0.2),
    );
    const text = fc.string({ unit: 'binary', maxLength: 300 }).filter((one) => one.isWellFormed());
    const reading = fc.record({
      metric: fc.stringMatching(/^[a-z][a-z0-9.]{0,63}$/),
      value: fc.oneof({ arbitrary: number, weight: 5 }, fc.boolean(), text),
      unit: fc.constant(undefined),
    });
    const counter = fc.option(fc.maxSafeInteger().map(Math.abs), { nil: undefined });
    const message = fc.record({
      id: fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,63}$/).map(deviceId),
      readings: fc.array(reading, { minLength: 1, maxLength: 64 }),
      session: counter,
      seq: counter,
      epochMs: fc.oneof(fc.maxSafeInteger(), fc.integer({ min: 1.6e12, max: 2e12 }), fc.double({ min: 0, max: 1e15 })),
    });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 10 }), (messages) => {
        const block = new LineBlock();
        const lines = messages.map(({ id, readings, session, seq, epochMs }) => {
          const telemetry = {
            readings: readings as Reading[],
            session,
            seq,
            time: { kind: 'none' as const },
            rejected: [],
          };
          block.addTelemetry(id, telemetry, epochMs);
          return telemetryLine(id, telemetry, epochMs) ?? '';
        });
        expect(messages.map((_, at) => block.line(at))).toEqual(lines);
        expect(block.bytes.toString()).toBe(lines.join('\n'));
      }),
      { numRuns: 500 },
    );
  });
});
