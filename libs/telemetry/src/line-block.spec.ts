import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineBlock } from './line-block.ts';
import { splitLines } from './line-protocol.ts';

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
        expect(lines.map((one) => block.add(one))).toEqual(lines.map((_, number) => number));
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
});
