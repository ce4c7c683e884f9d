import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ConfigurationError } from '@muster/service';
import { describe, expect, it, onTestFinished } from 'vitest';
import { loadReceivers, parseReceivers } from './receivers.ts';

const environment = {
  HOOK_SECRET: `whsec_${Buffer.alloc(32, 7).toString('base64')}`,
  SHORT: `whsec_${Buffer.alloc(8).toString('base64')}`,
  PASSWORD: 'hunter2',
  HOST: 'hooks.example.org',
};
const hook = (...lines: readonly string[]): string =>
  ['receivers:', '  - name: hook', '    type: webhook', ...lines.map((line) => `    ${line}`)].join('\n');
const mail = (...lines: readonly string[]): string =>
  ['receivers:', '  - name: mail', '    type: email', ...lines.map((line) => `    ${line}`)].join('\n');

describe('a file of receivers', () => {
  it('has webhooks, mailboxes and Alertmanagers, with secrets from the environment', () => {
    const receivers = parseReceivers(
      `receivers:
  - name: hook
    type: webhook
    url: https://\${HOST}/muster
    secret: \${HOOK_SECRET}
    severities: [critical]
    group_by: [rule, broker]
    group_wait: 30s
  - name: mail
    type: email
    from: muster@example.org
    to: [ops@example.org, anna@example.org]
    host: smtp.example.org
    username: muster
    password: \${PASSWORD}
  - name: router
    type: alertmanager
    url: http://alertmanager:9093/
    match: { rule: 'broker-*' }
`,
      environment,
    );
    expect(receivers.map(({ name, target }) => [name, target])).toEqual([
      ['hook', 'https://${HOST}/muster'],
      ['mail', 'ops@example.org, anna@example.org'],
      ['router', 'http://alertmanager:9093/'],
    ]);
    expect(receivers.map(({ channel }) => channel)).toMatchObject([
      { type: 'webhook', url: 'https://hooks.example.org/muster', key: Buffer.alloc(32, 7) },
      { type: 'email', port: 587, security: 'starttls', username: 'muster', password: 'hunter2' },
      { type: 'alertmanager', url: 'http://alertmanager:9093', resendMs: 60_000, authorization: undefined },
    ]);
    expect(receivers.map(({ route }) => route)).toMatchObject([
      { severities: ['critical'], group: { groupBy: ['rule', 'broker'], waitMs: 30_000, intervalMs: 300_000 } },
      { severities: ['info', 'warning', 'critical'], group: { groupBy: ['rule'], waitMs: 30_000, sendResolved: true } },
      { match: { rule: 'broker-*' }, takesEach: true, group: { groupBy: [], waitMs: 100 } },
    ]);
  });

  it.each<[string, string, RegExp]>([
    [
      'a secret in the file',
      hook('url: http://h/', 'secret: hunter2hunter2'),
      /line 5, column 13: .*expected the name of an environment variable/,
    ],
    [
      'a variable that is not there',
      hook('url: http://h/', 'secret: ${NOT_THERE}'),
      /line 5, column 13: .*the environment has no NOT_THERE/,
    ],
    ['a key that is too short', hook('url: http://h/', 'secret: ${SHORT}'), /line 5.*24 to 64 bytes/],
    ['a key that is none', hook('url: http://h/', 'secret: ${PASSWORD}'), /line 5.*secret: expected whsec_/],
    [
      'a URL that is none',
      hook('url: hooks.example.org', 'secret: ${HOOK_SECRET}'),
      /line 4, column 10: .*expected http/,
    ],
    ['another protocol', hook('url: file:///etc/passwd', 'secret: ${HOOK_SECRET}'), /line 4.*expected http/],
    ['an account in a URL', hook('url: http://u:p@h/', 'secret: ${HOOK_SECRET}'), /line 4.*no account/],
    [
      'a key that there is not',
      hook('url: http://h/', 'secret: ${HOOK_SECRET}', 'group_wate: 1s'),
      /line 6.*group_wate/,
    ],
    ['an address that is none', mail('from: x', 'to: [a@b]', 'host: h'), /line 4.*an address/],
    ['more than one address in one', mail('from: a@b', 'to: ["a@b, c@d"]', 'host: h'), /line 5.*an address/],
    [
      'a password in the clear',
      mail('from: a@b', 'to: [a@b]', 'host: h', 'security: none', 'password: ${PASSWORD}'),
      /line 7.*in the clear/,
    ],
    [
      'a name twice',
      `${hook('url: http://h/', 'secret: ${HOOK_SECRET}')}\n  - { name: hook, type: alertmanager, url: 'http://a' }`,
      /line 6, column 13: .*another receiver has this name/,
    ],
    ['no receivers', 'recievers: []', /receivers/],
  ])('is refused with %s, with line and column', (_, yaml, message) => {
    expect(() => parseReceivers(yaml, environment)).toThrow(message);
  });

  it('never shows a secret in an error', () => {
    for (const key of ['PASSWORD', 'SHORT'] as const)
      try {
        parseReceivers(hook('url: http://h/', `secret: \${${key}}`), environment);
        expect.unreachable();
      } catch (error) {
        expect(String(error)).not.toContain(environment[key]);
      }
  });

  it('that cannot be read or used is an error of the configuration, with its name', () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'muster-receivers-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const file = path.join(folder, 'receivers.yaml');
    expect(() => loadReceivers(file, {})).toThrow(/MUSTER_ALERTING_RECEIVERS: .*receivers\.yaml: ENOENT/);
    writeFileSync(file, 'receivers:\n  - name: X\n');
    expect(() => loadReceivers(file, {})).toThrow(ConfigurationError);
    expect(() => loadReceivers(file, {})).toThrow(/receivers\.yaml: line 2/);
  });

  it('is not needed', () => {
    expect(loadReceivers(undefined, {})).toEqual([]);
  });
});
