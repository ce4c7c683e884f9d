import { settingOf } from './configuration.ts';
import type { Match, Rule } from './rule.ts';
import {
  accessScopes,
  accessSettings,
  anonymousAccess,
  isLocal,
  knowsClientsByCertificate,
  namedFile,
  type AccessScope,
  type Subject,
} from './subject.ts';

const ACCOUNT_FIX = ['password_file /etc/mosquitto/passwd', 'mosquitto_passwd -c /etc/mosquitto/passwd NAME'];

function scopes(subject: Subject, check: (scope: AccessScope) => readonly Match[]): readonly Match[] {
  return accessScopes(subject.configuration).flatMap(check);
}

function hasPlugin({ settings }: AccessScope): boolean {
  return settingOf(settings, 'plugin') !== undefined;
}

function isOpen({ listeners }: AccessScope): boolean {
  return listeners.some((listener) => !isLocal(listener));
}

/** Rules on who is let in. */
export const accessRules: readonly Rule[] = [
  {
    id: 'anonymous',
    severity: 'critical',
    points: 40,
    cap: 40,
    why: 'Everybody who reaches the port may read and, without an ACL, command every device.',
    check: (subject) =>
      scopes(subject, (scope) => {
        const { allowed, setting } = anonymousAccess(subject, scope);
        if (!allowed || !isOpen(scope)) return [];
        const [first] = scope.listeners;
        const title = subject.configuration.localOnly
          ? 'anonymous clients are let in, whatever allow_anonymous says, because there is no listener line'
          : 'anonymous clients are let in, on every listener that this line applies to';
        const place = subject.configuration.localOnly ? first?.place : setting?.place;
        return [{ place: place ?? scope.place, title, fix: ['allow_anonymous false', ...ACCOUNT_FIX] }];
      }),
  },
  {
    id: 'anonymous-on-this-machine',
    severity: 'medium',
    points: 5,
    cap: 5,
    why: 'Every program on this machine, whoever runs it, may read and command every device.',
    check: (subject) =>
      scopes(subject, (scope) => {
        const { allowed, setting } = anonymousAccess(subject, scope);
        if (!allowed || isOpen(scope)) return [];
        const title = subject.configuration.localOnly
          ? 'without a listener line Mosquitto 2 listens on this machine alone and lets anonymous clients in'
          : 'anonymous clients of this machine are let in';
        return [
          {
            place: setting?.place ?? scope.place,
            title,
            fix: ['listener 1883 127.0.0.1', 'allow_anonymous false', ...ACCOUNT_FIX],
          },
        ];
      }),
  },
  {
    id: 'anonymous-by-version',
    severity: 'low',
    points: 2,
    cap: 2,
    why: 'Mosquitto 2 refuses anonymous clients where the option is missing, and 1.x lets them in.',
    check: (subject) =>
      scopes(subject, (scope) =>
        subject.configuration.localOnly || settingOf(scope.settings, 'allow_anonymous') !== undefined
          ? []
          : [{ place: scope.place, title: 'allow_anonymous is not written', fix: ['allow_anonymous false'] }],
      ),
  },
  {
    id: 'no-accounts',
    severity: 'high',
    points: 10,
    cap: 10,
    why: 'There is nothing to know a client by, so devices share one fate: all are let in or none.',
    check: (subject) =>
      scopes(subject, (scope) => {
        const isKnown =
          hasPlugin(scope) ||
          accessSettings(subject, ['password_file', 'psk_file']).some(
            ({ name }) => settingOf(scope.settings, name) !== undefined,
          ) ||
          scope.listeners.every(knowsClientsByCertificate);
        return isKnown
          ? []
          : [{ place: scope.place, title: 'no password_file, no plugin, no client certificates', fix: ACCOUNT_FIX }];
      }),
  },
  {
    id: 'no-acl',
    severity: 'high',
    points: 15,
    cap: 15,
    why: 'Every client may read and write every topic: one stolen device commands the whole fleet.',
    check: (subject) =>
      scopes(subject, (scope) =>
        hasPlugin(scope) || settingOf(scope.settings, 'acl_file') !== undefined
          ? []
          : [
              {
                place: scope.place,
                title: 'no acl_file and no plugin',
                fix: [
                  'acl_file /etc/mosquitto/acl',
                  'in that file: pattern write devices/%u/telemetry',
                  'and so on for each topic',
                ],
              },
            ],
      ),
  },
  {
    id: 'access-file-missing',
    severity: 'critical',
    points: 15,
    cap: 30,
    why: 'Mosquitto does not start without a file that it was told to use.',
    check: (subject) =>
      accessSettings(subject, ['password_file', 'acl_file', 'psk_file', 'plugin'])
        .filter((setting) => namedFile(subject, setting)?.state === 'missing')
        .map(({ place, name }) => ({ place, title: `the file of ${name} does not exist`, fix: [`${name} PATH`] })),
  },
  {
    id: 'access-file-of-root',
    severity: 'critical',
    points: 15,
    cap: 15,
    why: 'The broker gives up root before it reads the file, so it does not start.',
    check: (subject) =>
      accessSettings(subject, ['password_file', 'acl_file', 'psk_file'])
        .filter((setting) => namedFile(subject, setting)?.readableByRootAlone === true)
        .map(({ place, name }) => ({
          place,
          title: `root alone can read the file of ${name}, and the broker is not root`,
          fix: ['chown mosquitto: FILE', 'chmod 600 FILE'],
        })),
  },
  {
    id: 'access-file-unreadable',
    severity: 'advice',
    points: 0,
    cap: 0,
    why: 'The account of the broker must be able to read it; this account cannot, so nothing in it was judged.',
    check: (subject) =>
      accessSettings(subject, ['password_file', 'acl_file', 'psk_file'])
        .filter((setting) => namedFile(subject, setting)?.state === 'unreadable')
        .map(({ place, name }) => ({ place, title: `the file of ${name} cannot be read from here`, fix: [] })),
  },
];
