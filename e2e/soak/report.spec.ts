import { describe, expect, it } from 'vitest';
import { renderResult, withSection } from './report.ts';

const document = `# Long runs

What they are.

## load

Old.

## kill

Older.
`;

describe('the document of long runs', () => {
  it.each([
    ['the first section', 'load', '## load\n\nNew.\n\n## kill\n\nOlder.\n'],
    ['the last section', 'kill', '## load\n\nOld.\n\n## kill\n\nNew.\n'],
    ['a section that is not there yet', 'other', '## load\n\nOld.\n\n## kill\n\nOlder.\n\n## other\n\nNew.\n'],
  ])('has %s exchanged, and nothing else', (_, heading, sections) => {
    expect(withSection(document, heading, '\nNew.\n')).toBe(`# Long runs\n\nWhat they are.\n\n${sections}`);
  });

  it('is the same when the same is put into it again', () => {
    const once = withSection(document, 'kill', 'New.\n\n| a |\n| --- |');
    expect(withSection(once, 'kill', 'New.\n\n| a |\n| --- |')).toBe(once);
  });

  it('does not take the heading of another section for its own', () => {
    expect(withSection('# Long runs\n\n## kills\n\nOld.\n', 'kill', 'New.')).toBe(
      '# Long runs\n\n## kills\n\nOld.\n\n## kill\n\nNew.\n',
    );
  });
});

describe('a result', () => {
  it('says what did not hold', () => {
    const guarantees = [
      { promise: 'nothing is missing', found: '7 of 7', holds: true },
      { promise: 'memory stays', found: '+ 80 %', holds: false },
    ];
    const text = renderResult(
      { conditions: 'Much.', guarantees, columns: ['minute', 'MB'], rows: [[1, 200]] },
      'Today.',
    );
    expect(text).toBe(
      [
        'Today.\n\nMuch.\n',
        '| promise | found | holds |\n| --- | --- | --- |\n| nothing is missing | 7 of 7 | yes |\n| memory stays | + 80 % | **NO** |\n',
        '| minute | MB |\n| --- | --- |\n| 1 | 200 |',
      ].join('\n'),
    );
  });
});
