import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ArrayColumn } from './array-column.ts';

/** An array as PostgreSQL's manual says that it is read (section 8.15.2), where every text is in quotes. */
function elementsOf(array: string): readonly (string | null)[] {
  expect(array).toMatch(/^\{.*\}$/su);
  const elements: (string | null)[] = [];
  const element = /(?:"((?:[^"\\]|\\.)*)"|([^",{}]+))(?:,|$)/gsu;
  for (const [, quoted, plain] of array.slice(1, -1).matchAll(element)) {
    if (quoted !== undefined) elements.push(quoted.replaceAll(/\\(.)/gsu, '$1'));
    else elements.push(plain === 'null' ? null : (plain ?? ''));
  }
  return elements;
}

/** Without the nulls at the end. */
function trimmed<Value>(values: readonly Value[]): readonly Value[] {
  return values.slice(0, values.findLastIndex((value) => value !== null) + 1);
}

describe('a column of rows', () => {
  it('is an empty array at first, and after it was cleared', () => {
    const column = new ArrayColumn();
    expect(column.bytes.toString()).toBe('{}');
    column.number(1);
    column.text('one');
    column.clear();
    expect(column.bytes.toString()).toBe('{}');
  });

  it('leaves out nulls at its end, which unnest puts there, and no others', () => {
    const column = new ArrayColumn();
    for (const value of [null, null, 1.5, null, -2, null]) column.number(value);
    expect(column.bytes.toString()).toBe('{null,null,1.5,null,-2}');
    column.number(3);
    expect(column.bytes.toString()).toBe('{null,null,1.5,null,-2,null,3}');
  });

  it('has names, booleans, and a text of the letters null in quotes', () => {
    const column = new ArrayColumn();
    column.name('node-1');
    column.boolean(false);
    column.boolean(null);
    column.text('null');
    expect(column.bytes.toString()).toBe('{"node-1",false,null,"null"}');
  });

  it('gives every text back, whatever is in it, however often it comes', () => {
    const text = fc.string({ unit: 'binary', maxLength: 100 }).filter((one) => one.isWellFormed());
    const some = fc.oneof(
      text,
      fc.constantFrom('null', '', '"', '\\', '{a,b}', 'zwei\nZeilen', '22 °C'),
      fc.constant(null),
    );
    fc.assert(
      fc.property(fc.array(some, { maxLength: 50 }), (texts) => {
        const column = new ArrayColumn();
        for (const one of texts.flatMap((same) => [same, same])) column.text(one);
        expect(elementsOf(column.bytes.toString())).toEqual(trimmed(texts.flatMap((same) => [same, same])));
      }),
    );
  });

  it('gives every number back', () => {
    const number = fc.oneof(fc.double({ noNaN: true }), fc.maxSafeInteger(), fc.constant(null));
    fc.assert(
      fc.property(fc.array(number, { maxLength: 1_000 }), (numbers) => {
        const column = new ArrayColumn();
        for (const one of numbers) column.number(one);
        const back = elementsOf(column.bytes.toString()).map((one) => (one === null ? null : Number(one)));
        expect(back).toEqual(trimmed(numbers).map((one) => (one === null ? null : one + 0)));
      }),
    );
  });
});
