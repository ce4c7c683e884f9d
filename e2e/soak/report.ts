/** Something that must hold, and what was found. */
export interface Guarantee {
  readonly promise: string;
  readonly found: string;
  readonly holds: boolean;
}

/** What a run of one scenario gave. */
export interface SoakResult {
  /** What was done, in a sentence. */
  readonly conditions: string;
  readonly guarantees: readonly Guarantee[];
  /** How it went: the names of the columns, and under them the rows. */
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
}

function table(columns: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const line = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;
  return [line(columns), line(columns.map(() => '---')), ...rows.map(line)].join('\n');
}

/** A result as Markdown: when and where, what was done, what had to hold, how it went. */
export function renderResult({ conditions, guarantees, columns, rows }: SoakResult, dateAndMachine: string): string {
  const held = guarantees.map(({ promise, found, holds }) => [promise, found, holds ? 'yes' : '**NO**']);
  return [dateAndMachine, conditions, table(['promise', 'found', 'holds'], held), table(columns, rows)].join('\n\n');
}

/** A document with the section of that heading exchanged; where there is none yet it is added behind the others. */
export function withSection(document: string, heading: string, body: string): string {
  const sections = document.trimEnd().split(/^(?=## )/m);
  const section = `## ${heading}\n\n${body.trim()}\n\n`;
  const index = sections.findIndex((one) => one.startsWith(`## ${heading}\n`));
  if (index === -1) return `${document.trimEnd()}\n\n${section.trimEnd()}\n`;
  return `${sections.with(index, section).join('').trimEnd()}\n`;
}
