import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, vi } from 'vitest';
import { execute } from './system.ts';

/** What runs in a terminal, how large it is, and the environment of what runs there. */
export interface TerminalPlan {
  /** A line for sh. */
  readonly command: string;
  readonly columns?: number;
  readonly rows?: number;
  readonly environment?: Readonly<Record<string, string>>;
}

/** A real terminal: a tmux server of its own, with one window. */
export class Terminal {
  readonly #socket = `muster-${randomUUID()}`;
  readonly #record = path.join(mkdtempSync(path.join(tmpdir(), 'muster-terminal-')), 'output');

  private constructor(private readonly environment: Readonly<Record<string, string>>) {}

  /** Opens a window and runs a command in it; all that it writes is recorded. */
  static async open({ command, columns = 110, rows = 30, environment = {} }: TerminalPlan): Promise<Terminal> {
    const terminal = new Terminal(environment);
    const size = ['-x', String(columns), '-y', String(rows)];
    await terminal.#tmux('-f', '/dev/null', '-u', 'new-session', '-d', ...size, 'sh');
    await terminal.#tmux('pipe-pane', `cat > ${terminal.#record}`);
    // What was there before is to be there again; and the window stays when the command has ended.
    await terminal.#tmux('send-keys', `PS1=; clear; echo before; ${command}; echo "left with $?"`, 'Enter');
    return terminal;
  }

  /** The rows of the window as text, without blanks at their ends. */
  async rows(): Promise<readonly string[]> {
    const text = await this.#tmux('capture-pane', '-p');
    return text
      .replace(/\n$/, '')
      .split('\n')
      .map((row) => row.trimEnd());
  }

  /** The window as one text. */
  async text(): Promise<string> {
    return (await this.rows()).join('\n');
  }

  /** The window with its colours, as escape sequences. */
  async styled(): Promise<string> {
    return this.#tmux('capture-pane', '-p', '-e');
  }

  /** Waits until the window has all of these. */
  async untilShown(...patterns: readonly RegExp[]): Promise<void> {
    await vi.waitFor(
      async () => {
        const text = await this.text();
        for (const pattern of patterns) expect(text).toMatch(pattern);
      },
      { timeout: 15_000, interval: 50 },
    );
  }

  /** Presses keys, by tmux's names. */
  async press(...keys: readonly string[]): Promise<void> {
    await this.#tmux('send-keys', ...keys);
  }

  async resize(columns: number, rows: number): Promise<void> {
    await this.#tmux('resize-window', '-x', String(columns), '-y', String(rows));
  }

  /** All bytes that were written to the window until now. */
  recorded(): Buffer {
    return readFileSync(this.#record);
  }

  /** Whether the window shows the alternate screen. */
  async isFullScreen(): Promise<boolean> {
    return (await this.#tmux('display-message', '-p', '#{alternate_on}')).trim() === '1';
  }

  async close(): Promise<void> {
    await this.#tmux('kill-server');
  }

  async #tmux(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await execute('tmux', ['-L', this.#socket, ...args], 10_000, this.environment);
    if (code !== 0) throw new Error(`tmux ${args[0]}: ${stderr}`);
    return stdout;
  }
}
