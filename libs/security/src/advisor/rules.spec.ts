import { describe, expect, it } from 'vitest';
import { parseAccessList } from './access-list.ts';
import { advise, adviceSchema, RULES, type Advice, type Finding } from './advice.ts';
import type { CertificateFile } from './certificate.ts';
import { parseConfiguration } from './configuration.ts';
import { parsePasswordFile } from './password-file.ts';
import type { NamedFile } from './subject.ts';

const NOW = new Date('2026-06-01T00:00:00Z');

const GOOD_GLOBALS = `allow_anonymous false
allow_zero_length_clientid false
password_file /passwords
acl_file /acl
persistence true
autosave_interval 30
persistent_client_expiration 14d
max_queued_messages 1000000
max_inflight_messages 1000
max_keepalive 3600
max_packet_size 2097152
set_tcp_nodelay true
`;
const GOOD_LISTENER = `listener 8883
max_connections 1000
use_username_as_clientid true
certfile /certificate
keyfile /key
`;
const GOOD = GOOD_GLOBALS + GOOD_LISTENER;
const GOOD_ACL = 'user muster\ntopic readwrite devices/#\ntopic read $SYS/#\npattern write devices/%u/telemetry\n';
const GOOD_PASSWORDS = 'muster:$7$210000$c2FsdA==$aGFzaA==\n';

function certificate(facts: {
  readonly days?: number;
  readonly fromDays?: number;
  readonly rsaBits?: number;
}): CertificateFile {
  const at = (days: number): Date => new Date(NOW.getTime() + days * 86_400_000);
  return {
    kind: 'certificate',
    facts: {
      validFrom: at(facts.fromDays ?? -1),
      validTo: at(facts.days ?? 365),
      keyType: 'ec',
      rsaBits: facts.rsaBits,
    },
  };
}

interface Around {
  readonly acl?: string;
  readonly passwords?: string;
  readonly files?: Readonly<Record<string, Partial<NamedFile>>>;
  readonly keyFits?: boolean;
}

/** Judges a text with good files around it, some of which are replaced. */
function judge(
  text: string,
  { acl = GOOD_ACL, passwords = GOOD_PASSWORDS, files = {}, keyFits = true }: Around = {},
): Advice {
  const present: NamedFile = { state: 'present', readableByOthers: false };
  const all: Record<string, NamedFile> = {
    'mosquitto.conf': present,
    '/acl': { ...present, accessList: parseAccessList({ file: '/acl', text: acl }) },
    '/passwords': { ...present, passwords: parsePasswordFile({ file: '/passwords', text: passwords }) },
    '/certificate': { ...present, certificate: certificate({}) },
    '/key': present,
  };
  for (const [name, change] of Object.entries(files)) all[name] = { ...present, ...all[name], ...change };
  return advise({
    configuration: parseConfiguration({ file: 'mosquitto.conf', text }),
    evidence: { files: new Map(Object.entries(all)), keyFits: new Map([['/certificate\n/key', keyFits]]), now: NOW },
  });
}

function found(advice: Advice, rule: string): readonly Finding[] {
  return advice.findings.filter((finding) => finding.rule === rule);
}

const without = (text: string, ...names: readonly string[]): string =>
  text
    .split('\n')
    .filter((line) => !names.some((name) => line.startsWith(name)))
    .join('\n');

/** What breaks each rule: the text, what lies around it, and where the finding stands. */
const BROKEN: readonly (readonly [rule: string, where: string, text: string, around?: Around])[] = [
  ['plaintext-listener', 'mosquitto.conf:18', `${GOOD}listener 1883\n`],
  ['plaintext-listener', 'mosquitto.conf:13', `${GOOD_GLOBALS}port 1883\n`],
  ['plaintext-listener', 'mosquitto.conf:13', `${GOOD_GLOBALS}listener 9001\nprotocol websockets\n`],
  ['accidental-listener', 'mosquitto.conf:1', `max_connections 5\n${GOOD}`],
  ['incomplete-tls', 'mosquitto.conf:16', without(GOOD, 'keyfile')],
  ['incomplete-tls', 'mosquitto.conf:14', `${GOOD_GLOBALS}listener 8883\ncafile /ca\n`],
  ['old-tls', 'mosquitto.conf:18', `${GOOD}tls_version tlsv1.1\n`],
  ['tls-file-missing', 'mosquitto.conf:16', GOOD, { files: { '/certificate': { state: 'missing' } } }],
  ['tls-file-unreadable', 'mosquitto.conf:17', GOOD, { files: { '/key': { state: 'unreadable' } } }],
  ['tls-file-of-root', 'mosquitto.conf:17', GOOD, { files: { '/key': { readableByRootAlone: true } } }],
  ['access-file-of-root', 'mosquitto.conf:3', GOOD, { files: { '/passwords': { readableByRootAlone: true } } }],
  ['no-certificate', 'mosquitto.conf:16', GOOD, { files: { '/certificate': { certificate: { kind: 'none' } } } }],
  [
    'certificate-expired',
    'mosquitto.conf:16',
    GOOD,
    { files: { '/certificate': { certificate: certificate({ days: -1 }) } } },
  ],
  [
    'certificate-expired',
    'mosquitto.conf:16',
    GOOD,
    { files: { '/certificate': { certificate: certificate({ fromDays: 2 }) } } },
  ],
  [
    'certificate-expires-soon',
    'mosquitto.conf:16',
    GOOD,
    { files: { '/certificate': { certificate: certificate({ days: 30 }) } } },
  ],
  [
    'weak-key',
    'mosquitto.conf:16',
    GOOD,
    { files: { '/certificate': { certificate: certificate({ rsaBits: 1_024 }) } } },
  ],
  ['key-does-not-fit', 'mosquitto.conf:17', GOOD, { keyFits: false }],
  ['key-readable', 'mosquitto.conf:17', GOOD, { files: { '/key': { readableByOthers: true } } }],
  ['no-revocation', 'mosquitto.conf:18', `${GOOD}require_certificate true\n`],
  ['websockets-alone', 'mosquitto.conf:13', `${GOOD}protocol websockets\n`],
  ['client-id-is-free', 'mosquitto.conf:13', without(GOOD, 'use_username')],
  ['anonymous', 'mosquitto.conf:17', `${without(GOOD, 'allow_anonymous')}allow_anonymous true\n`],
  ['anonymous', 'mosquitto.conf:1', 'max_connections 5\nallow_anonymous false\n'],
  ['anonymous-on-this-machine', 'mosquitto.conf', ''],
  ['anonymous-on-this-machine', 'mosquitto.conf:1', 'allow_anonymous true\nlistener 1883 127.0.0.1\n'],
  ['anonymous-by-version', 'mosquitto.conf', without(GOOD, 'allow_anonymous')],
  ['no-accounts', 'mosquitto.conf', without(GOOD, 'password_file')],
  ['no-acl', 'mosquitto.conf', without(GOOD, 'acl_file')],
  ['access-file-missing', 'mosquitto.conf:3', GOOD, { files: { '/passwords': { state: 'missing' } } }],
  ['access-file-unreadable', 'mosquitto.conf:4', GOOD, { files: { '/acl': { state: 'unreadable' } } }],
  ['acl-refused', '/acl:1', GOOD, { acl: 'topic a/#b\n' }],
  ['acl-wildcard', '/acl:2', GOOD, { acl: 'user admin\ntopic readwrite #\n' }],
  ['acl-wildcard', '/acl:1', GOOD, { acl: 'pattern read +/telemetry\n' }],
  ['acl-anonymous', '/acl:1', GOOD.replace('anonymous false', 'anonymous true'), { acl: 'topic read news\n' }],
  ['acl-without-user', '/acl:1', GOOD, { acl: 'topic read news\n' }],
  ['acl-sys', '/acl:1', GOOD, { acl: 'pattern read $SYS/#\n' }],
  ['acl-muster', '/acl:2', GOOD, { acl: 'user d1\ntopic readwrite muster/#\n' }],
  ['acl-pattern-for-all', '/acl:1', GOOD, { acl: 'pattern write devices/#\n' }],
  ['acl-by-client-id', '/acl:1', without(GOOD, 'use_username'), { acl: 'pattern write devices/%c/#\n' }],
  ['password-plain', '/passwords:1', GOOD, { passwords: 'a:SECRET\n' }],
  ['password-damaged', '/passwords:1', GOOD, { passwords: 'a:$7$SECRET\n' }],
  ['password-weak-hash', '/passwords:1', GOOD, { passwords: 'a:$6$c2FsdA==$aGFzaA==\n' }],
  ['password-few-rounds', '/passwords:1', GOOD, { passwords: 'a:$7$101$c2FsdA==$aGFzaA==\n' }],
  ['password-file-readable', 'mosquitto.conf:3', GOOD, { files: { '/passwords': { readableByOthers: true } } }],
  ['no-connection-limit', 'mosquitto.conf:13', without(GOOD, 'max_connections')],
  ['no-packet-limit', 'mosquitto.conf', without(GOOD, 'max_packet_size')],
  ['silent-size-limit', 'mosquitto.conf:18', `${GOOD}message_size_limit 1000\n`],
  ['no-keepalive-limit', 'mosquitto.conf', without(GOOD, 'max_keepalive')],
  ['short-queue', 'mosquitto.conf', without(GOOD, 'max_queued_messages')],
  ['short-queue', 'mosquitto.conf:8', GOOD.replace('max_queued_messages 1000000', 'max_queued_messages 0')],
  ['inflight', 'mosquitto.conf', without(GOOD, 'max_inflight')],
  ['inflight', 'mosquitto.conf:9', GOOD.replace('inflight_messages 1000', 'inflight_messages 0')],
  ['no-persistence', 'mosquitto.conf', without(GOOD, 'persistence')],
  ['rare-saves', 'mosquitto.conf', without(GOOD, 'autosave')],
  ['rare-saves', 'mosquitto.conf:6', GOOD.replace('autosave_interval 30', 'autosave_interval 0')],
  ['eternal-sessions', 'mosquitto.conf', without(GOOD, 'persistent_client')],
  ['delayed-packets', 'mosquitto.conf', without(GOOD, 'set_tcp')],
  ['root', 'mosquitto.conf:18', `${GOOD}user root\n`],
  ['no-log', 'mosquitto.conf:18', `${GOOD}log_dest none\n`],
  ['no-log', 'mosquitto.conf:18', `${GOOD}log_type none\n`],
  ['no-connection-log', 'mosquitto.conf:18', `${GOOD}connection_messages false\n`],
  ['empty-client-ids', 'mosquitto.conf', without(GOOD, 'allow_zero')],
  ['refused', 'mosquitto.conf:18', `${GOOD}nosuch 1\n`],
  ['refused', 'mosquitto.conf:18', `${GOOD}certfile /again\n`],
  ['wrong-listener', 'mosquitto.conf:1', `certfile /certificate\n${GOOD}`],
  ['late-per-listener', 'mosquitto.conf:2', 'listener 8883\nper_listener_settings true\n'],
  ['shared-access-options', 'mosquitto.conf:2', 'listener 1883 127.0.0.1\nallow_anonymous true\nlistener 8883\n'],
  ['overruled', 'mosquitto.conf:18', `${GOOD}persistence true\n`],
  ['deprecated', 'mosquitto.conf:13', `${GOOD_GLOBALS}port 1883\n`],
  [
    'secret-readable',
    'mosquitto.conf:22',
    `${GOOD}connection hub\naddress hub:8883\ntopic a out\nbridge_cafile /ca\nremote_password SECRET\n`,
    { files: { 'mosquitto.conf': { readableByOthers: true } } },
  ],
  ['bridge-plaintext', 'mosquitto.conf:18', `${GOOD}connection hub\naddress hub:1883\ntopic a out\n`],
  [
    'bridge-insecure',
    'mosquitto.conf:22',
    `${GOOD}connection hub\naddress hub:8883\ntopic a out\nbridge_cafile /ca\nbridge_insecure true\n`,
  ],
  [
    'bridge-old-tls',
    'mosquitto.conf:22',
    `${GOOD}connection hub\naddress hub:8883\ntopic a out\nbridge_cafile /ca\nbridge_tls_version tlsv1.1\n`,
  ],
  ['bridge-incomplete', 'mosquitto.conf:18', `${GOOD}connection hub\naddress 127.0.0.1\n`],
];

describe('the advisor', () => {
  it('finds nothing in a good configuration, which scores 100', () => {
    expect(judge(GOOD)).toEqual({ file: 'mosquitto.conf', score: 100, findings: [] });
  });

  it.each([
    ['listeners of this machine without TLS', `${GOOD}listener 1883 127.0.0.1\nlistener 0 /run/m.sock\n`],
    [
      'accounts by client certificates',
      without(GOOD, 'password_file').replace(
        'use_username_as_clientid true',
        'require_certificate true\nuse_identity_as_username true\ncrlfile /crl',
      ),
    ],
    [
      'accounts of a plugin',
      without(GOOD, 'password_file', 'acl_file').replace('persistence', 'plugin /p.so\npersistence'),
    ],
    ['a bridge on this machine without TLS', `${GOOD}connection a\naddress 127.0.0.1:1884\ntopic a out\n`],
    ['a pre-shared key', `${without(GOOD, 'certfile', 'keyfile')}psk_hint hint\npsk_file /psk\n`],
  ])('has nothing against %s', (_, text) => expect(judge(text).findings).toEqual([]));

  it.for(BROKEN)('%s is found at %s', ([rule, where, text, around]) => {
    const advice = adviceSchema.parse(judge(text, around));
    const [first] = found(advice, rule);
    expect(first && `${first.file}${first.line === null ? '' : `:${first.line}`}`).toBe(where);
    expect(found(judge(GOOD), rule)).toEqual([]);
    expect(JSON.stringify(advice)).not.toMatch(/SECRET|aGFzaA/);
  });

  it('has a row above for every rule', () => {
    const included = 'include-ignored';
    const rules = new Set(BROKEN.map(([rule]) => rule));
    expect(RULES.map(({ id }) => id).filter((id) => !rules.has(id))).toEqual([included]);
    const subject = parseConfiguration(
      { file: 'm', text: 'include_dir d\n' },
      new Map([['d', [{ file: 'd/a.conf', text: 'include_dir e\n' }]]]),
    );
    const evidence = { files: new Map<string, NamedFile>(), keyFits: new Map<string, boolean>(), now: NOW };
    expect(found(advise({ configuration: subject, evidence }), included)).toMatchObject([
      { file: 'd/a.conf', line: 1 },
    ]);
  });

  it('names rules once, and no rule costs more than its cap', () => {
    expect(new Set(RULES.map(({ id }) => id)).size).toBe(RULES.length);
    for (const { points, cap, severity } of RULES) {
      expect(cap).toBeGreaterThanOrEqual(points);
      expect(points === 0).toBe(severity === 'advice');
    }
  });

  it('takes points until the cap of a rule is reached, and never goes below 0', () => {
    const text = `${GOOD}${['a', 'b', 'c', 'd'].map((name) => `nosuch_${name} 1\n`).join('')}`;
    expect(found(judge(text), 'refused').map(({ points }) => points)).toEqual([15, 15, 0, 0]);
    expect(judge(text).score).toBe(70);
    expect(
      judge(`listener 1883\nallow_anonymous true\nuser root\nlog_type none\n${'nosuch 1\n'.repeat(9)}`).score,
    ).toBe(0);
  });

  it('says the same of the same input', () => {
    expect(judge('listener 1883\nallow_anonymous true\n')).toEqual(judge('listener 1883\nallow_anonymous true\n'));
  });
});

describe("the course's configuration (Lab 4)", () => {
  const lab4 = `# Default listener (disabled)
listener 1883
allow_anonymous false

# TLS listener
listener 8883
cafile /certificate
certfile /certificate
keyfile /key
require_certificate false

# Password file
password_file /passwords

# Logging
log_dest file /var/log/mosquitto/mosquitto.log
log_type all
`;

  it('scores 38, because its disabled listener is an open one', () => {
    const advice = judge(lab4);
    expect(advice.score).toBe(38);
    expect(advice.findings[0]).toMatchObject({
      rule: 'plaintext-listener',
      severity: 'critical',
      points: 25,
      file: 'mosquitto.conf',
      line: 2,
      title: 'listener 1883 is called disabled in the comment, and is open without TLS',
    });
    expect(found(advice, 'no-acl')).toHaveLength(1);
  });

  it('scores 25 more without that listener', () => {
    expect(judge(lab4.replace('listener 1883\n', '')).score).toBe(38 + 25);
  });
});
