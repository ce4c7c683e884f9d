import { execFileSync } from 'node:child_process';
import { Argument, Command, Option } from 'commander';
import { describe, expect, it } from 'vitest';
import { completionScript } from './completion-command.ts';

/** A command line with what ours has, and texts that a shell could take for its own. */
function commandLine(): Command {
  const muster = new Command('muster').version('1');
  const device = muster.command('device').description(`what's "here": $(touch /tmp/x) \`id\``);
  device
    .command('ls')
    .description('list')
    .option('--json', 'JSON')
    .addOption(new Option('--presence <state>', 'one').choices(['online', 'lost']))
    .option('--name <text>', 'any');
  device.command('show').argument('<device>', 'its id');
  muster.command('decommission').argument('<device>', 'its id');
  muster.command('completion').addArgument(new Argument('<shell>').choices(['bash', 'zsh']));
  muster.command('secure').command('advise').argument('<file>', 'a file').option('--ca <file>', 'PEM');
  return muster;
}

/** What a real bash offers behind some words; the last one is the one that is completed. */
function offered(...words: readonly string[]): readonly string[] {
  const script = `${completionScript(commandLine(), 'bash')}
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _muster; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const output = execFileSync('bash', ['-c', script, 'bash', 'muster', ...words], { encoding: 'utf8' });
  return output.split('\n').filter((line) => line !== '');
}

describe('completion in bash', () => {
  it.each([
    [['de'], ['device', 'decommission']],
    [[''], ['device', 'decommission', 'completion', 'secure', 'help', '--version', '-V', '--help', '-h']],
    [
      ['device', ''],
      ['ls', 'show', 'help', '--help', '-h'],
    ],
    [
      ['device', 'ls', '--'],
      ['--json', '--help', '--presence', '--name'],
    ],
    [
      ['device', 'ls', '--presence', ''],
      ['online', 'lost'],
    ],
    [['device', 'ls', '--presence', 'on'], ['online']],
    [['device', 'ls', '--name', ''], []],
    [['device', 'ls', '--name', 'device', '--js'], ['--json']],
    [
      ['completion', ''],
      ['bash', 'zsh', '--help', '-h'],
    ],
    [['secure', 'advise', '/usr/bi'], ['/usr/bin']],
    [['secure', 'advise', '--ca', '/usr/bi'], ['/usr/bin']],
    [['nonsense', 'dev'], ['device']],
    [['device', '$(id)', '--h'], ['--help']],
  ])('of %j is %j', (words, expected) => {
    expect(offered(...words)).toEqual(expected);
  });
});

describe('completion in zsh and fish', () => {
  it('keeps descriptions as texts', () => {
    expect(completionScript(commandLine(), 'zsh')).toContain(`'device:what'\\''s "here": $(touch /tmp/x) \`id\`'`);
    expect(completionScript(commandLine(), 'fish')).toContain(`-a device -d 'what\\'s "here": $(touch /tmp/x) \`id\`'`);
  });
});
