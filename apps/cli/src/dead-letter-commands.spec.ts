import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { addDeadLetterCommands, progressText } from './dead-letter-commands.ts';

interface Asked {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly body: unknown;
}

const at = '2026-11-23T18:00:00.000Z';
const progress = {
  id: '1',
  requestedAt: at,
  by: 'anna',
  requested: 5,
  left: 2,
  stored: 2,
  failedAgain: 1,
  endedAt: null,
};
const letter = {
  ...{ id: 'valve:not-a-number', device: 'valve', reason: 'not-a-number', detail: 'expected a number', topic: 'a/b' },
  ...{ payload: 'x'.repeat(100), payloadBase64: 'eA==', payloadBytes: 100, count: 3, replayable: 2 },
  ...{ firstAt: at, lastAt: at },
};

describe('muster dead-letters', () => {
  let server: Server;
  let asked: Asked[];
  let answers: unknown[];
  let printed: string[];

  beforeEach(async () => {
    [asked, answers, printed] = [[], [], []];
    server = createServer((request, response) => {
      let text = '';
      request.on('data', (chunk: Buffer) => (text += chunk.toString()));
      request.on('end', () => {
        asked.push({ method: request.method, url: request.url, body: text === '' ? undefined : JSON.parse(text) });
        response.setHeader('content-type', 'application/json').end(JSON.stringify(answers.shift()));
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const note = (chunk: unknown): boolean => printed.push(String(chunk)) > 0;
    vi.spyOn(process.stdout, 'write').mockImplementation(note);
    vi.spyOn(process.stderr, 'write').mockImplementation(note);
  });
  afterEach(() => {
    vi.restoreAllMocks();
    server.close();
  });

  async function run(...args: readonly string[]): Promise<string> {
    const muster = new Command('muster').exitOverride();
    addDeadLetterCommands(muster);
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await muster.parseAsync(['node', 'muster', 'dead-letters', ...args, '--url', url]);
    return printed.join('');
  }

  it('lists all pages in a table, with how far the last replay is', async () => {
    answers.push({ items: [letter], next: 'abc', replay: progress });
    answers.push({ items: [{ ...letter, device: null, payload: null }], next: null, replay: progress });
    const text = await run('--reason', 'not-a-number');
    expect(asked.map(({ url }) => url)).toEqual([
      '/api/v1/dead-letters?limit=100&reason=not-a-number',
      '/api/v1/dead-letters?limit=99&reason=not-a-number&cursor=abc',
    ]);
    expect(text).toMatch(/^DEVICE +REASON +COUNT +REPLAYABLE /);
    expect(text).toContain(`${'x'.repeat(59)}…`);
    expect(text).toMatch(/\n- +not-a-number .*\(not text\)\n/);
    expect(text).toContain(progressText(progress));
  });

  it('asks for a replay of what its options choose', async () => {
    answers.push({ dryRun: true, requested: 2, letters: [{ id: letter.id, messages: 2 }], replay: null });
    const text = await run(
      'replay',
      '--device',
      'valve',
      '--letter',
      'valve:bad-name',
      '--letter',
      ':bad-name',
      '--dry-run',
    );
    expect(asked).toEqual([
      {
        method: 'POST',
        url: '/api/v1/dead-letters/replay',
        body: { device: 'valve', ids: ['valve:bad-name', ':bad-name'], dryRun: true },
      },
    ]);
    expect(text).toMatch(/^DEAD LETTER +WOULD BE READ AGAIN\nvalve:not-a-number +2\n$/);
  });

  it('says where there is nothing to read again', async () => {
    answers.push({ dryRun: false, requested: 0, letters: [], replay: null });
    expect(await run('replay')).toContain('nothing to read again');
  });
});

describe('the progress of a replay', () => {
  it('says who wanted it and what has become of it', () => {
    expect(progressText(progress)).toBe(`replay of ${at} by anna: 2 of 5 stored, 1 could not be used again, 2 left`);
  });
});
