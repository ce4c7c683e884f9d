import { mkdtempSync, readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { execute, missingProgram, StartedSystem, stateFolder, type Finished } from './system.ts';
import { Terminal } from './tmux.ts';

const MAIN = path.join(import.meta.dirname, '../apps/cli/dist/main.js');
/** What starts a shell without anybody's own settings, calls our build `muster` there, and completes it. */
const SHELLS: Readonly<Record<string, { readonly start: string; readonly define: string; readonly complete: string }>> =
  {
    bash: {
      start: 'bash --norc --noprofile',
      define: `muster() { node ${MAIN} "$@"; }`,
      complete: 'source <(muster completion bash)',
    },
    zsh: {
      start: 'zsh -f',
      define: `muster() { node ${MAIN} "$@"; }`,
      complete: 'autoload -U compinit; compinit -u -D; source <(muster completion zsh)',
    },
    fish: {
      start: 'fish --no-config',
      define: `function muster; node ${MAIN} $argv; end`,
      complete: 'muster completion fish | source',
    },
  };

const open: Terminal[] = [];
afterEach(async () => {
  for (const terminal of open.splice(0)) await terminal.close();
});

async function terminal(command: string, environment: Readonly<Record<string, string>> = {}): Promise<Terminal> {
  const opened = await Terminal.open({ command, environment });
  open.push(opened);
  return opened;
}

describe('the command line', () => {
  it('has --json, --help and a description everywhere, and says its version', async () => {
    const { stdout } = await execute('node', [MAIN, 'completion', 'fish']);
    const flags = [...stdout.matchAll(/= \\'([a-z ]*)\\'' -l ([a-z-]+)/g)];
    const paths = [...new Set(flags.map(([, at]) => at ?? ''))];
    const groups = new Set(paths.map((at) => at.split(' ').slice(0, -1).join(' ')));
    const commands = paths.filter((at) => at !== '' && !groups.has(at) && at !== 'completion');
    expect(commands).toEqual(
      expect.arrayContaining(['up', 'watch', 'device ls', 'decommission verify', 'profile add']),
    );
    for (const command of commands)
      expect(flags.filter(([, at]) => at === command).map(([, , flag]) => flag)).toEqual(
        expect.arrayContaining(['json', 'help']),
      );
    expect(stdout).not.toMatch(/-d ''$/m);
    expect(await execute('node', [MAIN, '--version'])).toMatchObject({ code: 0, stdout: '0.1.0\n' });
  });

  it.each([
    [['wach'], 2, /unknown command 'wach'\n\(Did you mean watch\?\)/],
    [['device', 'lst'], 2, /Did you mean one of list, ls\?/],
    [['device', 'ls', '--presense', 'lost'], 2, /Did you mean --presence\?/],
    [['device', 'ls', '--presence', 'gone'], 2, /Allowed choices are online, asleep/],
    [['device'], 2, /Usage: muster device/],
    [[], 2, /Usage: muster /],
    [['device', 'ls', '--timeout', 'soon'], 2, /expected a duration such as 60s/],
    [['device', 'ls', '--url', 'nowhere'], 2, /--url expects http/],
    [['completion', 'tcsh'], 2, /Allowed choices are bash, zsh, fish/],
    [['device', 'ls', '--url', 'http://127.0.0.1:9'], 1, /no API at/],
  ])('%j ends with %i, nothing on standard output, and says why', async (args, code, why) => {
    const finished = await execute('node', [MAIN, ...args]);
    expect([finished.code, finished.stdout]).toEqual([code, '']);
    expect(finished.stderr).toMatch(why);
  });

  it('ends quietly when whoever reads has left', async () => {
    const { stdout, stderr } = await execute('bash', [
      '-c',
      `node ${MAIN} completion fish | head -1; echo "ended with \${PIPESTATUS[0]}"`,
    ]);
    expect([stdout, stderr]).toEqual([expect.stringMatching(/^# fish.*\nended with 0\n$/), '']);
  });
});

const withoutShell = missingProgram('tmux', ...Object.keys(SHELLS));

describe.skipIf(withoutShell !== undefined)(
  `completion${withoutShell === undefined ? '' : ` (skipped: ${withoutShell})`}`,
  () => {
    it.each(Object.entries(SHELLS))('works in %s', async (_, { start, define, complete }) => {
      const shell = await terminal(start);
      await shell.press(define, 'Enter');
      await shell.press(`${complete}; echo ready`, 'Enter');
      await shell.untilShown(/^ready$/m);
      await shell.press('muster decom', 'Tab');
      await shell.untilShown(/muster decommission/);
      await shell.press('C-c');
      await shell.press('muster token create --scope ', 'Tab', 'Tab');
      await shell.untilShown(/viewer\s+operator\s+admin|admin[\s\S]*operator[\s\S]*viewer/);
    });
  },
);

const withoutTerminal = missingProgram('tmux');

describe.skipIf(withoutTerminal !== undefined)('profiles', () => {
  const config = mkdtempSync(path.join(tmpdir(), 'muster-config-'));
  const elsewhere = mkdtempSync(path.join(tmpdir(), 'muster-elsewhere-'));
  const file = path.join(config, 'muster/config.yaml');
  let system: StartedSystem;
  const shown: string[] = [];

  /** In a folder where no system was started, with a configuration of its own. */
  async function muster(script: string): Promise<Finished> {
    const finished = await execute(
      'bash',
      ['-c', `cd ${elsewhere} && ${script.replaceAll('muster ', `node ${MAIN} `)}`],
      30_000,
      {
        XDG_CONFIG_HOME: config,
      },
    );
    shown.push(finished.stdout, finished.stderr);
    return finished;
  }

  beforeAll(async () => {
    system = await StartedSystem.start(['--devices', '1', '--dir', stateFolder()]);
  });
  afterAll(async () => {
    await system.stop();
  });

  it('name several Musters; a token is read and never shown, and goes to its own URL alone', async () => {
    const { url, token } = system.address.api;
    expect((await muster(`muster device ls --url ${url}`)).stderr).toMatch(/401/);
    const added = await muster(`echo ${token} | muster profile add lab --url ${url} --json`);
    expect(JSON.parse(added.stdout)).toEqual({ name: 'lab', url, token: true, ca: null, current: false });
    expect(readFileSync(file, 'utf8')).toContain(token);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect((await muster('muster device ls --profile lab')).stdout).toMatch(/^virtual-1 /m);
    expect((await muster('muster profile use lab')).code).toBe(0);
    expect((await muster('muster device ls --json')).stdout).toContain('"virtual-1"');
    expect((await muster('muster profile show')).stdout).toMatch(/token {2}there is one/);
    expect((await muster(`muster device ls --url ${url}`)).stderr).toMatch(/401/);
    expect(await muster(`muster profile add lab --url ${url} < /dev/null`)).toMatchObject({ code: 2 });
    expect((await muster(`muster profile add other --url http://127.0.0.1:9 < /dev/null`)).code).toBe(0);
    expect((await muster('muster profile ls')).stdout).toMatch(/^\* +lab +http.*yes +-\n +other +http.*no +-$/m);
    expect((await muster('muster device ls --profile other')).stderr).toMatch(/no API at http:\/\/127\.0\.0\.1:9/);
    expect((await muster('muster profile rm lab')).stderr).toMatch(/removed; no profile is in use/);
    expect(readFileSync(file, 'utf8')).not.toContain(token);
    expect(shown.join('')).not.toContain(token);
  });

  it('ask for the token in a terminal without showing it', async () => {
    const { url, token } = system.address.api;
    const typing = await terminal(`node ${MAIN} profile add typed --url ${url}`, { XDG_CONFIG_HOME: config });
    await typing.untilShown(/token \(nothing is shown/);
    await typing.press('-l', token);
    await typing.press('Enter');
    await typing.untilShown(/typed is http.*with its token/, /left with 0/);
    expect(typing.recorded().toString()).not.toContain(token);
    expect((await muster('muster device ls --profile typed')).stdout).toMatch(/^virtual-1 /m);
  });

  it('are refused where others can read them, with the way to mend it', async () => {
    await execute('chmod', ['644', file]);
    expect(await muster('muster profile ls')).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining(`chmod 600 ${file}`),
    });
    await execute('chmod', ['600', file]);
  });
});
