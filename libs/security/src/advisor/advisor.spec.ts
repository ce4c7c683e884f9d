import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Advisor } from './advisor.ts';
import { certificateForTests } from './certificate-for-tests.ts';
import { brokerAccount } from './system-files.ts';

function folderWith(files: Readonly<Record<string, string | Uint8Array>>): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'muster-advisor-'));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    writeFileSync(path.join(folder, name), text, { mode: 0o600 });
  }
  return folder;
}

function advisorOn(files: Readonly<Record<string, string | Uint8Array>>): Advisor {
  return new Advisor(path.join(folderWith(files), 'mosquitto.conf'));
}

const rules = (advisor: Advisor): readonly string[] => advisor.advice().findings.map(({ rule }) => rule);
const certificate = await certificateForTests();

describe('a configuration on disk', () => {
  it.each([
    ['10 MB', Buffer.alloc(10_000_000, 'a'), 'too-large', 'at most 1,000,000 are read'],
    ['binary', Buffer.from([0x7f, 0x45, 0x4c, 0x46, 1, 2, 0, 0, 0xff]), 'not-text', ':1 holds bytes'],
    ['NUL on its second line', 'listener 1883\na\0b\n', 'not-text', ':2 holds bytes'],
  ])('of %s is refused with the reason', (_, text, code, message) => {
    expect(() => advisorOn({ 'mosquitto.conf': text })).toThrow(
      expect.objectContaining({ name: 'AdvisorError', code, message: expect.stringContaining(message) }),
    );
  });

  it.each(['/nonexistent/mosquitto.conf', tmpdir(), '/dev/null'])('that is none (%s) is refused', (file) => {
    expect(() => new Advisor(file)).toThrow(expect.objectContaining({ name: 'AdvisorError', code: 'unreadable' }));
  });

  it('may have comments in Latin-1', () => {
    const text = Buffer.concat([Buffer.from('# f'), Buffer.from([0xfc]), Buffer.from('r alle\nlistener 1883\n')]);
    expect(rules(advisorOn({ 'mosquitto.conf': text }))).not.toContain('refused');
  });

  it('is read with its includes in the order of Mosquitto, without going round in circles', () => {
    const folder = folderWith({
      'mosquitto.conf': 'include_dir conf.d\n',
      'conf.d/b.conf': 'nosuch_b 1\n',
      'conf.d/B.conf': 'nosuch_upper_b 1\n',
      'conf.d/a.conf': 'nosuch_a 1\ninclude_dir conf.d\n',
      'conf.d/readme.txt': 'nosuch_text 1\n',
    });
    symlinkSync('../mosquitto.conf', path.join(folder, 'conf.d', 'loop.conf'));
    const { findings } = new Advisor(path.join(folder, 'mosquitto.conf')).advice();
    const titles = findings.filter(({ rule }) => rule === 'refused').map(({ title }) => title.split(' ')[0]);
    expect(titles).toEqual(['nosuch_a', 'nosuch_upper_b', 'nosuch_b']);
    expect(findings.filter(({ rule }) => rule === 'include-ignored').map(({ file }) => path.basename(file))).toEqual([
      'a.conf',
      'loop.conf',
    ]);
  });

  it('is judged with the files that it names', async () => {
    const text = 'listener 8883\ncertfile server.crt\nkeyfile server.key\npassword_file passwords\nacl_file acl\n';
    const folder = folderWith({
      'mosquitto.conf': text,
      'server.crt': certificate.certificate,
      'server.key': (await certificateForTests()).key,
      passwords: 'a:TOP-SECRET\n',
      acl: 'user a\ntopic #\n',
    });
    chmodSync(path.join(folder, 'server.key'), 0o644);
    chmodSync(path.join(folder, 'passwords'), 0o644);
    const advisor = new Advisor(path.join(folder, 'mosquitto.conf'));
    expect(rules(advisor)).toEqual(
      expect.arrayContaining([
        ...['key-does-not-fit', 'key-readable', 'password-plain', 'password-file-readable', 'acl-wildcard'],
      ]),
    );
    expect(JSON.stringify(advisor.advice())).not.toContain('TOP-SECRET');
  });

  it.skipIf(process.getuid?.() !== 0 || brokerAccount({ settings: [] }) === undefined)(
    'is judged with files that only root can read, which the broker is not (needs root and an account mosquitto)',
    () => {
      const files = { 'mosquitto.conf': 'listener 8883\npassword_file p\n', p: 'a:$6$c2FsdA==$aGFzaA==\n' };
      expect(rules(advisorOn(files))).toContain('access-file-of-root');
      const asRoot = { ...files, 'mosquitto.conf': `user root\n${files['mosquitto.conf']}` };
      expect(rules(advisorOn(asRoot))).not.toContain('access-file-of-root');
    },
  );

  it('names files that are not what it takes them for', () => {
    expect(() => advisorOn({ 'mosquitto.conf': 'acl_file acl\n', acl: Buffer.from([0, 1, 2]) })).toThrow(
      expect.objectContaining({ code: 'not-text', message: expect.stringContaining('acl:1') }),
    );
    expect(rules(advisorOn({ 'mosquitto.conf': 'password_file /nonexistent\nlistener 1883\n' }))).toContain(
      'access-file-missing',
    );
  });
});

const write = (advisor: Advisor, folder = path.join(folderWith({}), 'new')): ReturnType<Advisor['write']> =>
  advisor.write({ folder, certificate });

/** Lines of the new mosquitto.conf that start with one of these words. */
function linesOf(written: ReturnType<Advisor['write']>, ...names: readonly string[]): readonly string[] {
  return readFileSync(written.file, 'utf8')
    .split('\n')
    .filter((line) => names.includes(line.split(' ')[0] ?? ''));
}

describe('the configuration that is written', () => {
  it.each([
    ['an open broker', 'listener 1883\nallow_anonymous true\n', ['listener 1883']],
    ['an empty file', '', ['listener 1883 127.0.0.1']],
    ['the old spelling', 'port 1884\nmax_connections 7\n', ['listener 1884']],
    ['a misplaced option', 'max_connections 5\nlistener 8883\n', ['listener 8883']],
    ['a disabled listener', '# disabled\nlistener 1883\nlistener 8883\ncertfile c\nkeyfile k\n', ['listener 8883']],
    [
      'plaintext beside TLS',
      'listener 1883\nlistener 8883\ncertfile c\nkeyfile k\n',
      ['listener 1883 127.0.0.1', 'listener 8883'],
    ],
    ['websockets alone', 'listener 9001\nprotocol websockets\n', ['listener 9001', 'listener 1883 127.0.0.1']],
    ['half of TLS', 'listener 8883 0.0.0.0\ncafile ca.crt\n', ['listener 8883 0.0.0.0']],
    [
      'two listeners with access of their own',
      'per_listener_settings true\nlistener 1883\nlistener 9001\nprotocol websockets\n',
      ['listener 1883', 'listener 9001'],
    ],
    [
      'what Mosquitto refuses',
      'nosuch 1\nlistener 8883\nallow_anonymous maybe\nuser root\nlog_type none\n',
      ['listener 8883'],
    ],
  ])('scores 95 and more for %s, and keeps its listeners', (_, text, listeners) => {
    const written = write(advisorOn({ 'mosquitto.conf': text }));
    expect(written.advice.score).toBeGreaterThanOrEqual(95);
    expect(linesOf(written, 'listener')).toEqual(listeners);
    expect(written.account).toEqual({ username: 'muster', password: expect.stringMatching(/^[\w-]{32}$/) });
  });

  it('keeps limits, log, persistence, plugins and good certificates', () => {
    const folder = folderWith({ 'c.crt': certificate.certificate, 'c.key': certificate.key, 'p.so': '' });
    const owner = process.getuid?.() === 0 ? brokerAccount({ settings: [] }) : undefined;
    if (owner !== undefined)
      for (const name of ['c.crt', 'c.key']) chownSync(path.join(folder, name), owner.uid, owner.gid);
    const kept = [
      ...['persistence_location /var/lib/mosquitto/', 'max_queued_messages 5000', 'log_dest syslog', 'log_dest stderr'],
      ...['sys_interval 5', `plugin ${folder}/p.so`, 'plugin_opt_config_file /x.json', 'max_connections 7'],
      ...[`certfile ${folder}/c.crt`, `keyfile ${folder}/c.key`],
    ];
    writeFileSync(
      path.join(folder, 'mosquitto.conf'),
      `${kept.slice(0, 7).join('\n')}\nlistener 8883\nmax_connections 7\ncertfile c.crt\nkeyfile c.key\n`,
    );
    const written = new Advisor(path.join(folder, 'mosquitto.conf')).write({ folder: path.join(folder, 'new') });
    const text = readFileSync(written.file, 'utf8').split('\n');
    expect(kept.filter((line) => !text.includes(line))).toEqual([]);
    expect([written.account, written.advice.score >= 95]).toEqual([undefined, true]);
  });

  it('keeps accounts, hashes passwords that stood there, and mends the ACL', () => {
    const written = write(
      advisorOn({
        'mosquitto.conf': 'listener 8883\npassword_file p\nacl_file a\n',
        p: 'old:$6$c2FsdA==$aGFzaA==\nadmin:PLAIN-SECRET\nbroken:$7$x\n',
        a: 'topic read #\nuser admin\ntopic #\n',
      }),
    );
    const folder = path.dirname(written.file);
    expect(readFileSync(path.join(folder, 'passwords'), 'utf8')).toMatch(
      /^old:\$6\$c2FsdA==\$aGFzaA==\nadmin:\$7\$101\$\S+\n$/,
    );
    expect(readFileSync(path.join(folder, 'acl'), 'utf8')).toContain('user admin\ntopic readwrite devices/#');
    expect(written.account).toBeUndefined();
    expect(written.advice.score).toBeGreaterThanOrEqual(95);
    expect(written.notes.join('\n')).toMatch(/damaged[^]*anonymous[^]*admin/);
  });

  it('leaves out bridges without TLS, and says so', () => {
    const written = write(
      advisorOn({
        'mosquitto.conf':
          'listener 8883\nconnection plain\naddress h:1883\ntopic # out\nconnection good\naddress h:8883\ntopic a out\ntopic b in\nbridge_cafile /ca\nremote_password PASS\n',
      }),
    );
    expect(linesOf(written, 'connection', 'topic', 'remote_password')).toEqual([
      'connection good',
      'topic a out',
      'topic b in',
      'remote_password PASS',
    ]);
    expect(written.notes).toContainEqual(expect.stringContaining('bridge plain'));
    expect(JSON.stringify([written.notes, written.advice])).not.toContain('PASS');
  });

  it('is readable for nobody else, and replaces nothing that is there unless it is told to', () => {
    const advisor = advisorOn({ 'mosquitto.conf': 'listener 1883\n' });
    const folder = folderWith({ acl: 'mine' });
    chmodSync(path.join(folder, 'acl'), 0o644);
    expect(() => write(advisor, folder)).toThrow(
      expect.objectContaining({ code: 'file-exists', message: expect.stringContaining('--force') }),
    );
    expect(() => statSync(path.join(folder, 'mosquitto.conf'))).toThrow('ENOENT');
    const { files } = advisor.write({ folder, certificate, replace: true });
    expect(files.map((file) => statSync(file).mode & 0o777)).toEqual(files.map(() => 0o600));
    expect(readFileSync(path.join(folder, 'acl'), 'utf8')).not.toContain('mine');
  });

  it('needs a certificate that can be used', async () => {
    const advisor = advisorOn({ 'mosquitto.conf': 'listener 1883\n' });
    const folder = path.join(folderWith({}), 'new');
    expect(() => advisor.write({ folder })).toThrow(expect.objectContaining({ code: 'certificate-missing' }));
    const mixed = { ...certificate, key: (await certificateForTests()).key };
    expect(() => advisor.write({ folder, certificate: mixed })).toThrow(
      expect.objectContaining({ code: 'certificate-unusable' }),
    );
    expect(() => advisor.write({ folder: '/dev/null/x', certificate })).toThrow(
      expect.objectContaining({ code: 'not-writable' }),
    );
  });

  it(
    'scores 95 and more for whatever was there, and means the same when it is written again',
    { timeout: 30_000 },
    () => {
      const line = fc.constantFrom(
        ...['listener 1883', 'listener 8883 0.0.0.0', 'listener 1884 127.0.0.1', 'listener 0 /run/m.sock', 'port 1885'],
        ...[
          '# disabled',
          'protocol websockets',
          'certfile c',
          'keyfile k',
          'cafile c',
          'tls_version tlsv1.1',
          'nosuch 1',
        ],
        ...['per_listener_settings true', 'allow_anonymous true', 'password_file p', 'acl_file a', 'plugin x.so'],
        ...['plugin_opt_a b', 'user root', 'log_dest none', 'persistence false', 'max_connections -1', 'max_qos 1'],
        ...[
          'connection b',
          'address h:1',
          'topic # both',
          'bridge_cafile c',
          'bridge_insecure true',
          'require_certificate 1',
        ],
        ...['use_identity_as_username true', 'message_size_limit 9', 'autosave_interval 0', 'max_queued_messages 0'],
        ...[
          'autosave_on_changes true',
          'max_keepalive 65535',
          'crlfile c',
          'psk_hint h',
          'psk_file p',
          'bind_address ::1',
        ],
      );
      const files = {
        p: 'x:PLAIN\ny:$6$c2FsdA==$aGFzaA==\nz:$7$\n',
        a: 'topic #\nuser x\ntopic +/a\ntopic muster/#\npattern $SYS/#\npattern a/%c\npattern b\nnonsense\n',
        c: certificate.certificate,
      };
      fc.assert(
        fc.property(fc.array(line, { maxLength: 14 }), (lines) => {
          const written = write(advisorOn({ ...files, 'mosquitto.conf': `${lines.join('\n')}\n` }));
          expect(written.advice.findings.filter(({ severity }) => ['critical', 'high'].includes(severity))).toEqual([]);
          expect(written.advice.score).toBeGreaterThanOrEqual(95);
          const again = write(new Advisor(written.file));
          expect(linesOf(again, 'listener')).toEqual(linesOf(written, 'listener'));
        }),
        {
          numRuns: 40,
          examples: [
            [['listener 1883', 'plugin x.so', 'per_listener_settings true', 'plugin_opt_a b']],
            [['listener 1884 127.0.0.1', 'protocol websockets', 'listener 1883', 'protocol websockets']],
          ],
        },
      );
    },
  );
});
