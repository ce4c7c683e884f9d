import { alertRuleFileSchema } from '@muster/contract';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { YamlError, YamlSource, type YamlFault } from './yaml-source.ts';

function faultsOf(text: string): readonly YamlFault[] {
  try {
    new YamlSource(text).as(alertRuleFileSchema);
  } catch (error) {
    if (error instanceof YamlError) return error.faults;
    throw error;
  }
  return [];
}

describe('a file of alert rules', () => {
  it('is read with its defaults', () => {
    const text = 'rules:\n  - { name: lost, kind: presence, for: 30s }\n';
    expect(new YamlSource(text).as(alertRuleFileSchema).rules).toMatchObject([
      { name: 'lost', kind: 'presence', for: '30s', severity: 'warning', states: ['lost'] },
    ]);
  });

  it.each<[string, string, number, number, RegExp]>([
    ['what is no YAML', 'rules: [\n', 2, 1, /flow/i],
    [
      'a value that is none',
      'rules:\n  - name: warm\n    kind: threshold\n    metric: temp\n    above: hot\n',
      5,
      12,
      /expected number/,
    ],
    ['a key that there is not', 'rules:\n  - name: lost\n    kind: presence\n    fro: 30s\n', 4, 10, /fro/],
    ['a kind that there is not', 'rules:\n  - name: lost\n    kind: presense\n', 3, 11, /kind/],
    [
      'something that is missing, at what it is missing from',
      'rules:\n  - name: warm\n    kind: threshold\n    above: 3\n',
      2,
      5,
      /metric/,
    ],
    ['a key twice', 'rules:\n  - name: lost\n    name: lost\n    kind: presence\n', 3, 5, /unique/i],
    ['another document', 'just a text\n', 1, 1, /expected object/],
    ['nothing', '', 1, 1, /expected object/],
  ])('is refused for %s, with line and column', (_, text, line, column, message) => {
    const [fault] = faultsOf(text);
    expect([fault?.line, fault?.column]).toEqual([line, column]);
    expect(`${fault?.path ?? ''} ${fault?.message ?? ''}`).toMatch(message);
  });

  it.each<[string, string]>([
    ['brackets', `${'['.repeat(50_000)}${']'.repeat(50_000)}`],
    ['braces', '{a: '.repeat(50_000)],
    ['lists of lists', '- '.repeat(50_000)],
    ['keys of keys', '? '.repeat(50_000)],
    ['indentation', Array.from({ length: 600 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n')],
  ])('is refused for %s without end, which would end the process', (_, text) => {
    expect(faultsOf(text)).not.toEqual([]);
  });

  it('may be JSON in one line, whatever stands in its texts', () => {
    const summary = `${'a - b ? c : d '.repeat(10)}[{`;
    const rules = Array.from({ length: 20 }, (_, index) => ({ name: `r${index}`, kind: 'presence', summary }));
    expect(new YamlSource(JSON.stringify({ rules })).as(alertRuleFileSchema).rules).toMatchObject(rules);
  });

  it('is refused for JSON of too many levels, of which those in its texts are none', () => {
    const levels = (count: number): string => `${'["\\"[[", '.repeat(count)}1${']'.repeat(count)}`;
    expect(faultsOf(levels(100))).toMatchObject([{ message: expect.stringMatching(/expected object/) as unknown }]);
    expect(faultsOf(levels(101))).toEqual([
      { line: 1, column: 901, path: '', message: 'more than 100 levels within each other' },
    ]);
  });

  it('is refused for aliases that would grow without end', () => {
    const bomb = ['a0: &a0 [x, x, x, x, x, x, x, x, x]'];
    for (let index = 1; index < 9; index += 1)
      bomb.push(`a${index}: &a${index} [${Array.from({ length: 9 }, () => `*a${index - 1}`).join(', ')}]`);
    expect(faultsOf(bomb.join('\n'))[0]?.message).toMatch(/alias/i);
  });

  it('never fails in another way, whatever it is given', () => {
    const line = fc.oneof(
      fc.string({ maxLength: 30 }),
      fc.constantFrom(
        'rules:',
        '  - name: a',
        '    kind: threshold',
        '    above: 1',
        '    <<: *x',
        '- &x',
        '? {a: b}',
        '%YAML 9',
        '---',
      ),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 12 }), (lines) => {
        for (const { line: at, column } of faultsOf(lines.join('\n'))) {
          expect(at).toBeGreaterThan(0);
          expect(column).toBeGreaterThan(0);
        }
      }),
    );
  });
});
