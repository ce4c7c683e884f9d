import type { PasswordEntry } from './password-file.ts';
import type { Match, Rule } from './rule.ts';
import { accessSettings, namedFile, type Subject } from './subject.ts';

/** Rounds of PBKDF2 below which a password that a person chose falls to guessing (OWASP, 2023, for SHA-512). */
const ROUNDS_FOR_PEOPLE = 210_000;
function accounts(
  subject: Subject,
  says: (entry: PasswordEntry) => string | undefined,
  fix: readonly string[],
): readonly Match[] {
  const files = new Map(accessSettings(subject, ['password_file']).map((setting) => [setting.value, setting]));
  return [...files.values()].flatMap((setting) => {
    const entries = (namedFile(subject, setting)?.passwords ?? []).filter((entry) => says(entry) !== undefined);
    const [first] = entries;
    if (first === undefined) return [];
    const more = entries.length === 1 ? '' : `, and ${entries.length - 1} more`;
    return [{ place: first.place, title: `${says(first) ?? ''}${more}`, fix }];
  });
}

/** Rules on password files. */
export const passwordRules: readonly Rule[] = [
  {
    id: 'password-plain',
    severity: 'high',
    points: 15,
    cap: 15,
    why: 'Whoever reads the file knows the password, and Mosquitto takes such a line for no account at all.',
    check: (subject) =>
      accounts(
        subject,
        ({ scheme, username }) => (scheme.kind === 'plain' ? `the password of ${username} is not hashed` : undefined),
        ['mosquitto_passwd -U FILE'],
      ),
  },
  {
    id: 'password-damaged',
    severity: 'medium',
    points: 3,
    cap: 3,
    why: 'Mosquitto takes such a line for no account at all: the client cannot connect.',
    check: (subject) =>
      accounts(
        subject,
        ({ scheme, username }) => (scheme.kind === 'damaged' ? `the hash of ${username} is damaged` : undefined),
        ['mosquitto_passwd FILE NAME'],
      ),
  },
  {
    id: 'password-weak-hash',
    severity: 'low',
    points: 2,
    cap: 2,
    why: 'One round of SHA-512 is guessed a billion times a second once the file is stolen.',
    check: (subject) =>
      accounts(
        subject,
        ({ scheme, username }) =>
          scheme.kind === 'sha512' ? `the hash of ${username} is $6$, without rounds` : undefined,
        ['mosquitto_passwd FILE NAME'],
      ),
  },
  {
    id: 'password-few-rounds',
    severity: 'low',
    points: 1,
    cap: 1,
    why: 'That is enough for long random passwords, which devices should have, and not for those that people choose.',
    check: (subject) =>
      accounts(
        subject,
        ({ scheme, username }) =>
          scheme.kind === 'pbkdf2' && scheme.rounds < ROUNDS_FOR_PEOPLE
            ? `the hash of ${username} has ${scheme.rounds} rounds`
            : undefined,
        ['a long random password, or mosquitto_passwd -I 210000 FILE NAME (2.1 and later)'],
      ),
  },
  {
    id: 'password-file-readable',
    severity: 'medium',
    points: 5,
    cap: 5,
    why: 'Every account of the machine can take the hashes away and guess at leisure.',
    check: (subject) =>
      accessSettings(subject, ['password_file', 'psk_file'])
        .filter((setting) => namedFile(subject, setting)?.readableByOthers === true)
        .map(({ place, name }) => ({
          place,
          title: `every account of this machine can read the file of ${name}`,
          fix: ['chown mosquitto: FILE', 'chmod 600 FILE'],
        })),
  },
];
