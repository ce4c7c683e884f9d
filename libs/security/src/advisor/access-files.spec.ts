import { pbkdf2Sync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseAccessList } from './access-list.ts';
import { AdvisorError } from './advisor-error.ts';
import { mendAccessList, newAccessList } from './mended-access.ts';
import { hashPlainPasswords, parsePasswordFile, passwordLine } from './password-file.ts';

const acl = (text: string): ReturnType<typeof parseAccessList> => parseAccessList({ file: 'acl', text });
const mend = (text: string, usernames: readonly string[] = ['d1']): string =>
  mendAccessList(acl(text).grants, usernames).text;

describe('an ACL file', () => {
  it('grants to anonymous clients above the first user line, then to accounts, and by patterns to everybody', () => {
    expect(acl('# x\ntopic read a\nuser x y\n topic  deny  a b/#\r\npattern c/%u\ntopic b').grants).toEqual([
      { to: { kind: 'anonymous' }, access: 'read', filter: 'a', place: { file: 'acl', line: 2 } },
      { to: { kind: 'account', username: 'x y' }, access: 'deny', filter: 'a b/#', place: { file: 'acl', line: 4 } },
      { to: { kind: 'everybody' }, access: 'readwrite', filter: 'c/%u', place: { file: 'acl', line: 5 } },
      { to: { kind: 'account', username: 'x y' }, access: 'readwrite', filter: 'b', place: { file: 'acl', line: 6 } },
    ]);
  });

  // Each was refused by Mosquitto 2.0.11.
  it.each(['foo bar', 'topic foo bar', 'topic', 'user', '\ttopic a', 'topic readwrite # all', 'topic a/#b'])(
    'is refused for %j',
    (text) => expect(acl(text).refused).toEqual([{ file: 'acl', line: 1 }]),
  );

  it.each([
    ['topic read a/b', '\n', 'what anonymous clients had is gone'],
    ['user d1\ntopic readwrite a/b', 'user d1\ntopic readwrite a/b\n', 'what is named stays'],
    ['user d1\ntopic read muster/x', '\n', 'devices have nothing to do under muster/'],
    ['user muster\ntopic read muster/x', 'user muster\ntopic read muster/x\n', "and Muster's services have"],
    ['pattern read $SYS/#', '\n', '$SYS is not for everybody'],
    ['pattern read news', 'user d1\ntopic read news\n', 'a pattern without %u is a line of each account'],
    ['pattern write a/%c/b', 'pattern write a/%u/b\n', 'client ids are chosen by the client'],
    ['user d1\ntopic deny #', 'user d1\ntopic deny #\n', 'a denial stays'],
  ])('%j becomes %j: %s', (text, expected) => expect(mend(text)).toBe(expected));

  it('that granted everything grants the topics that are known', () => {
    expect(mend('user admin\ntopic read #\ntopic write shop/x').split('\n')).toEqual([
      'user admin',
      'topic read devices/#',
      'topic read home/#',
      'topic read iotclass/#',
      'topic read shop/#',
      'topic write shop/x',
      '',
    ]);
    expect(mend('pattern readwrite #')).toContain('pattern write devices/%u/telemetry');
    expect(acl(mend('user a\ntopic +/x\npattern #')).refused).toEqual([]);
  });

  it('that is new says what other accounts may still do', () => {
    const { text, notes } = newAccessList(['d1', 'muster-ingestion']);
    expect(acl(text).refused).toEqual([]);
    expect(text).toContain('user muster-ingestion\ntopic readwrite devices/#');
    expect(text).toContain('user d1\ntopic readwrite home/#');
    expect(notes).toEqual([expect.stringContaining('d1')]);
  });
});

describe('a password file', () => {
  it('tells how each password is kept, and keeps none', () => {
    const text = [
      '# comment',
      'a:$7$101$c2FsdA==$aGFzaA==',
      'b:$6$c2FsdA==$aGFzaA==',
      'c:plain SECRET',
      'd:',
      'e:$7$x$c2FsdA==$aGFzaA==',
      'f:$9$c2FsdA==$aGFzaA==',
      'no colon',
    ].join('\r\n');
    const entries = parsePasswordFile({ file: 'p', text });
    expect(entries.map(({ username, scheme }) => [username, scheme])).toEqual([
      ['a', { kind: 'pbkdf2', rounds: 101 }],
      ['b', { kind: 'sha512' }],
      ['c', { kind: 'plain' }],
      ['d', { kind: 'damaged' }],
      ['e', { kind: 'damaged' }],
      ['f', { kind: 'damaged' }],
    ]);
    expect(JSON.stringify(entries)).not.toMatch(/SECRET|aGFz/);
  });

  it('has a line of PBKDF2 with SHA-512 for a new account', () => {
    const [, , rounds, salt, hash] = passwordLine('x', 'secret').split('$');
    expect(
      pbkdf2Sync('secret', Buffer.from(salt ?? '', 'base64'), Number(rounds), 64, 'sha512').toString('base64'),
    ).toBe(hash);
  });

  it('has hashes where passwords stood, and all else as it was', () => {
    const text = hashPlainPasswords({ file: 'p', text: 'a:$6$c2FsdA==$aGFzaA==\nc:plain SECRET\n' });
    expect(text).toMatch(/^a:\$6\$c2FsdA==\$aGFzaA==\nc:\$7\$101\$\S+\n$/);
  });
});

describe('files of access', () => {
  it('throw nothing but the error of this library, whatever the text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        for (const read of [parseAccessList, parsePasswordFile]) {
          try {
            read({ file: 'f', text });
          } catch (error) {
            expect(error).toBeInstanceOf(AdvisorError);
            expect((error as AdvisorError).line).toBeGreaterThan(0);
          }
        }
      }),
    );
  });
});
