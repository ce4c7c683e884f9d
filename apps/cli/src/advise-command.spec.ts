import { mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { adviceDocumentSchema, type Advice } from '@muster/security';
import { Command, CommanderError } from 'commander';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { adviceText } from './advise-command.ts';
import { addSecureCommands } from './secure-commands.ts';
import { UsageError } from './up/settings.ts';

const advice: Advice = {
  file: 'mosquitto.conf',
  score: 58,
  findings: [
    {
      ...{ rule: 'plaintext-listener', severity: 'critical', points: 25, file: 'mosquitto.conf', line: 2 },
      ...{
        title: 'listener 1883 is open\u001b[2J',
        why: 'Whoever is on the way reads it.',
        fix: ['remove it', 'or not'],
      },
    },
    {
      ...{ rule: 'no-revocation', severity: 'advice', points: 0, file: 'mosquitto.conf', line: null },
      ...{ title: 'no list', why: 'It stays good.', fix: [] },
    },
  ],
};

describe('the advice in a terminal', () => {
  it('is the score, and each finding with its place, reason and mending; nothing in it steers the terminal', () => {
    expect(adviceText(advice)).toBe(
      [
        'mosquitto.conf: 58 of 100, 2 findings',
        '',
        'mosquitto.conf:2  critical  -25  listener 1883 is open\uFFFD[2J',
        '    why  Whoever is on the way reads it.',
        '    fix  remove it',
        '         or not',
        '',
        'mosquitto.conf    advice      0  no list',
        '    why  It stays good.',
      ].join('\n'),
    );
    expect(adviceText({ ...advice, score: 100, findings: [] })).toBe('mosquitto.conf: 100 of 100, nothing found');
  });
});

/** Runs a command line in this process; answers what it printed. */
async function run(...args: readonly string[]): Promise<string> {
  const muster = new Command('muster').exitOverride().configureOutput({ writeErr: () => undefined });
  addSecureCommands(muster);
  const printed: string[] = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => printed.push(String(text)) > 0);
  await muster.parseAsync(['node', 'muster', 'secure', 'advise', ...args]);
  return printed.join('');
}

function configuration(text: string): string {
  const file = path.join(mkdtempSync(path.join(tmpdir(), 'muster-secure-')), 'mosquitto.conf');
  writeFileSync(file, text);
  return file;
}

describe('muster secure advise', () => {
  afterEach(() => {
    vi.restoreAllMocks();
    process.exitCode = undefined;
  });

  it('ends with 0 whatever the score, unless --fail-under asks for more', async () => {
    const file = configuration('listener 1883\nallow_anonymous true\n');
    expect(await run(file)).toContain('critical  -40  anonymous clients are let in');
    expect(process.exitCode).toBeUndefined();
    await run(file, '--fail-under', '95');
    expect(process.exitCode).toBe(1);
    process.exitCode = undefined;
    await run(file, '--fail-under', '0');
    expect(process.exitCode).toBeUndefined();
  });

  it('prints JSON of its schema', async () => {
    const document = adviceDocumentSchema.parse(JSON.parse(await run(configuration('listener 1883\n'), '--json')));
    expect(document.findings.map(({ rule }) => rule)).toContain('plaintext-listener');
    expect(document.written).toBeUndefined();
  });

  it('writes a better configuration, and leaves the password of its new account in a file of mode 0600 alone', async () => {
    const file = configuration('listener 1883 127.0.0.1\nallow_anonymous true\n');
    const folder = path.join(path.dirname(file), 'new');
    const output = await run(file, '--write', folder, '--json', '--fail-under', '95');
    const { written } = adviceDocumentSchema.parse(JSON.parse(output));
    expect(process.exitCode).toBeUndefined();
    expect(written?.advice.score).toBeGreaterThanOrEqual(95);
    const password = readFileSync(path.join(folder, 'muster-password'), 'utf8').trim();
    expect([password.length, statSync(path.join(folder, 'muster-password')).mode & 0o777]).toEqual([32, 0o600]);
    expect(output).not.toContain(password);
    expect(output).not.toContain('$7$');
    await expect(run(file, '--write', folder)).rejects.toThrow(/would be overwritten.*--force/);
    expect(await run(file, '--write', folder, '--force')).toContain(`wrote ${folder}/mosquitto.conf`);
  });

  it('makes an authority and a certificate where the configuration has none', async () => {
    const file = configuration('listener 8883\n');
    const folder = path.join(path.dirname(file), 'new');
    const { written } = adviceDocumentSchema.parse(JSON.parse(await run(file, '--write', folder, '--json')));
    expect(written?.advice.score).toBeGreaterThanOrEqual(95);
    expect(statSync(path.join(folder, 'tls/ca.key')).mode & 0o777).toBe(0o600);
  });

  it.each([
    ['a file that is not there', ['/nonexistent/mosquitto.conf'], 'there is no such file'],
    ['half of a certificate', ['FILE', '--write', '/nonexistent', '--ca', 'x'], '--ca, --certificate and --key'],
    ['--force alone', ['FILE', '--force'], '--write'],
  ])('calls %s a fault of usage', async (_, args, message) => {
    const file = configuration('listener 1883\n');
    const error: unknown = await run(...args.map((word) => (word === 'FILE' ? file : word))).catch(
      (caught: unknown) => caught,
    );
    expect(error).toBeInstanceOf(UsageError);
    expect((error as UsageError).message).toContain(message);
  });

  it.each([['--fail-under', '101'], ['--fail-under', 'x'], ['--unknown']])('refuses %s %s', async (...words) => {
    await expect(run(configuration(''), ...words)).rejects.toThrow(CommanderError);
  });
});
