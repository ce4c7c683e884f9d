/** `npm run security`: starts a system with TLS, tries what must work and what must not, and prints a table. */
import { readFileSync } from 'node:fs';
import { StartedSystem, stateFolder } from '../system.ts';
import { accountsAtScale } from './accounts-at-scale.ts';
import { attempts, issue, type Attempt } from './attempts.ts';

const json = process.argv.includes('--json');
const print = (text: string): void => void process.stdout.write(`${text}\n`);

function row({ name, expected, found, ok }: Attempt): string {
  return `${ok ? 'ok  ' : 'FAIL'}  ${name.padEnd(58)}  ${expected.padEnd(44)}  ${found}`;
}

const done: Attempt[] = [];
function take(attempt: Attempt): void {
  done.push(attempt);
  if (!json) print(row(attempt));
}

const dir = stateFolder();
const system = await StartedSystem.start(['--devices', '2', '--tls', '--dir', dir], []);
try {
  const { address } = system;
  const ca = readFileSync(address.broker.ca ?? '', 'utf8');
  const scene = { address, ca, alice: await issue(address, 'alice'), bob: await issue(address, 'bob') };
  if (!json) print(`      ${'TRIED'.padEnd(58)}  ${'EXPECTED'.padEnd(44)}  FOUND`);
  for await (const attempt of attempts(scene, dir)) take(attempt);
  for (const attempt of await accountsAtScale(address, ca)) take(attempt);
} finally {
  await system.stop();
}
const failed = done.filter(({ ok }) => !ok).length;
print(json ? JSON.stringify(done) : `\n${done.length - failed} as expected, ${failed} not`);
process.exitCode = failed === 0 ? 0 : 1;
