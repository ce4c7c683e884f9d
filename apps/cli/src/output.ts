/** What was asked for could not be done, or did not come out as it should. */
export const EXIT_FAILURE = 1;
/** It was asked for wrongly. */
export const EXIT_USAGE = 2;

/** How a command answers: for people, or as JSON. */
export interface OutputOptions {
  readonly json: boolean;
}

/** After this time somebody wonders whether anything goes on. */
const WAIT_TOLD_AFTER_MS = 500;
const WAIT_TOLD_EVERY_MS = 1_000;
const CLEAR_LINE = '\r\u001b[K';

/** Prints what a command was asked for, on standard output. */
export function write(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Says something beside it, on standard error. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Says how things stand; where standard error is a terminal, in place of what was said so before. */
export function showStatus(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`${CLEAR_LINE}${text}`);
  else if (text !== '') say(text);
}

/** Text of a device for a terminal: control characters could move the cursor or do worse. */
export function plain(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '\uFFFD');
}

/** Rows under headings, columns as wide as their widest cell. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [headings, ...rows.map((row) => row.map(plain))];
  const widths = headings.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/**
 * Work that may take long. Where standard error is a terminal, one line there says what is waited for and since when,
 * and is gone when it is done.
 */
export async function waitingFor<T>(what: string, work: Promise<T>): Promise<T> {
  const { stderr } = process;
  if (!stderr.isTTY) return work;
  const startedAt = performance.now();
  const tell = (): void =>
    void stderr.write(`${CLEAR_LINE}${what} (${Math.floor((performance.now() - startedAt) / 1000)} s)`);
  let every: NodeJS.Timeout | undefined;
  const first = setTimeout(() => {
    tell();
    every = setInterval(tell, WAIT_TOLD_EVERY_MS);
  }, WAIT_TOLD_AFTER_MS);
  try {
    return await work;
  } finally {
    clearTimeout(first);
    if (every !== undefined) {
      clearInterval(every);
      stderr.write(CLEAR_LINE);
    }
  }
}
