import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Command } from 'commander';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { addAlertCommands, addMatcher, endOf } from './alert-commands.ts';

describe('what alerts, silences and the like are asked for', () => {
  let server: Server;
  let url = '';

  beforeAll(async () => {
    // Nothing in any list, and nothing to say of what is deleted.
    server = createServer((request, response) => {
      if (request.method === 'DELETE') response.writeHead(204).end();
      else response.end(JSON.stringify({ items: [], next: null }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  async function run(...args: readonly string[]): Promise<{ readonly stdout: string; readonly stderr: string }> {
    const out = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const)
      vi.spyOn(process[stream], 'write').mockImplementation((text) => {
        out[stream] += text.toString();
        return true;
      });
    const muster = new Command('muster');
    addAlertCommands(muster);
    await muster.parseAsync([...args, '--url', url], { from: 'user' });
    vi.restoreAllMocks();
    return out;
  }

  it.each([
    ['alert ls', 'No alerts.\n'],
    ['alert rule ls', 'No alert rules.\n'],
    ['alert receivers', expect.stringContaining('Nobody is told')],
    ['alert deliveries', 'Nobody was told anything.\n'],
    ['silence ls', 'No silences.\n'],
    ['maintenance ls', 'No maintenance windows.\n'],
  ])('%s: nothing on standard output where there is nothing, and [] as JSON', async (command, stderr: unknown) => {
    expect(await run(...command.split(' '))).toEqual({ stdout: '', stderr });
    expect(await run(...command.split(' '), '--json')).toEqual({ stdout: '[]\n', stderr: '' });
  });

  it('says beside standard output what it has done', async () => {
    expect(await run('maintenance', 'rm', 'works')).toEqual({ stdout: '', stderr: 'works is deleted\n' });
    expect(await run('alert', 'rule', 'rm', 'warm', '--json')).toEqual({ stdout: '{"deleted":"warm"}\n', stderr: '' });
  });
});

describe('a matcher', () => {
  it.each([
    ['device=cellar-*', { device: 'cellar-*' }],
    ['reason=a=b', { reason: 'a=b' }],
  ])('%s', (text, matchers) => {
    expect(addMatcher(text, undefined)).toEqual(matchers);
    expect(addMatcher(text, { rule: 'lost' })).toEqual({ rule: 'lost', ...matchers });
  });

  it.each(['device', 'device=', '=x', 'a-b=c', ''])('is not %j', (text) => {
    expect(() => addMatcher(text, undefined)).toThrow(/expected LABEL=TEXT/);
  });
});

describe('the end of a silence', () => {
  it('is a time, or so long from now', () => {
    expect(endOf({ for: '2h' }, 0)).toBe('1970-01-01T02:00:00.000Z');
    expect(endOf({ until: '2027-01-01T00:00:00Z' }, 0)).toBe('2027-01-01T00:00:00Z');
  });

  it.each([[{}], [{ for: '2h', until: '2027-01-01T00:00:00Z' }], [{ for: 'soon' }]])('is not %j', (options) => {
    expect(() => endOf(options, 0)).toThrow(/expect/);
  });
});
