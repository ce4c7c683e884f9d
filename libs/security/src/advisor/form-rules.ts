import { settingOf, valueOf, type Fault } from './configuration.ts';
import { isTrue } from './options.ts';
import type { Match, Rule } from './rule.ts';
import { isPlainBridge, type Subject } from './subject.ts';

function faults(
  { configuration }: Subject,
  wanted: (fault: Fault) => boolean,
  fix: readonly string[],
): readonly Match[] {
  return configuration.faults.filter(wanted).map(({ place, text }) => ({ place, title: text, fix }));
}

/** Options whose values are secrets. */
const SECRETS =
  /^(?:remote_password|local_password|bridge_psk|tls_engine_kpass_sha1|(?:auth|plugin)_opt_.*(?:pass|secret|key|token).*)$/;

/** Rules on the form of the configuration, and on bridges. */
export const formRules: readonly Rule[] = [
  {
    id: 'refused',
    severity: 'critical',
    points: 15,
    cap: 30,
    why: 'Mosquitto does not start with this line.',
    check: (subject) => faults(subject, ({ refused }) => refused, ['mend or remove the line']),
  },
  {
    id: 'wrong-listener',
    severity: 'high',
    points: 6,
    cap: 12,
    why: 'The option does not apply to the listener that it was written for, so that one runs with defaults.',
    check: (subject) =>
      faults(subject, ({ kind, refused }) => kind === 'orphan' && !refused, [
        'write the line below the listener that it is meant for, in the same file',
      ]),
  },
  {
    id: 'late-per-listener',
    severity: 'high',
    points: 6,
    cap: 6,
    why: 'Listeners above the line were set up for shared accounts, those below for accounts of their own: it is easy to leave one open.',
    check: (subject) =>
      faults(subject, ({ kind }) => kind === 'late', ['per_listener_settings true', 'as the first line of the file']),
  },
  {
    id: 'shared-access-options',
    severity: 'low',
    points: 1,
    cap: 1,
    why: 'Without per_listener_settings an option of access below a listener applies to all of them, and not to this one alone.',
    check: ({ configuration }) => {
      const { listeners, perListener, settings, file } = configuration;
      const last = listeners.filter(({ kind }) => kind === 'named');
      if (perListener || last.length < 2) return [];
      const below = settings.find(
        ({ name, place, value }) =>
          name === 'allow_anonymous' &&
          isTrue(value) &&
          place.file === file &&
          last.some((listener) => listener.place.file === file && (listener.place.line ?? 0) < (place.line ?? 0)),
      );
      return below === undefined
        ? []
        : [
            {
              place: below.place,
              title: 'this line looks as if it were of one listener and applies to all',
              fix: ['per_listener_settings true', 'as the first line of the file'],
            },
          ];
    },
  },
  {
    id: 'overruled',
    severity: 'low',
    points: 2,
    cap: 4,
    why: 'Only the last of the lines counts; the reader of the first believes something else.',
    check: (subject) => faults(subject, ({ kind }) => kind === 'overruled', ['keep one of the lines']),
  },
  {
    id: 'include-ignored',
    severity: 'medium',
    points: 3,
    cap: 3,
    why: 'What stands in that folder is not in force.',
    check: (subject) =>
      faults(subject, ({ kind, refused }) => kind === 'include' && !refused, ['move the line to the main file']),
  },
  {
    id: 'deprecated',
    severity: 'low',
    points: 1,
    cap: 1,
    why: 'port and bind_address are deprecated; listener says both in one line.',
    check: ({ configuration }) =>
      configuration.listeners
        .filter(({ kind }) => kind === 'default')
        .flatMap(({ settings, port, address }) =>
          settings
            .filter(({ name }) => name === 'port' || name === 'bind_address')
            .slice(0, 1)
            .map(({ place, name }) => ({
              place,
              title: `${name} is deprecated`,
              fix: [`listener ${port}${address === undefined ? '' : ` ${address}`}`],
            })),
        ),
  },
  {
    id: 'secret-readable',
    severity: 'high',
    points: 8,
    cap: 8,
    why: 'Every account of the machine can read the file, and with it a password for another broker or a plugin.',
    check: ({ configuration, evidence }) => {
      const settings = [configuration, ...configuration.listeners, ...configuration.bridges].flatMap(
        (one) => one.settings,
      );
      return settings
        .filter(({ name, place }) => SECRETS.test(name) && evidence.files.get(place.file)?.readableByOthers === true)
        .map(({ name, place }) => ({
          place,
          title: `${/^[a-z_]+$/.test(name) ? name : 'a secret'} stands in a file that everybody can read`,
          fix: ['chown mosquitto: FILE', 'chmod 600 FILE'],
        }));
    },
  },
  {
    id: 'bridge-plaintext',
    severity: 'high',
    points: 10,
    cap: 20,
    why: 'Messages and the password of the bridge cross the network in the clear.',
    check: ({ configuration }) =>
      configuration.bridges.filter(isPlainBridge).map(({ name, place }) => ({
        place,
        title: `the bridge ${name} has no TLS`,
        fix: ['address HOST:8883', 'bridge_cafile /etc/mosquitto/certs/remote-ca.crt'],
      })),
  },
  {
    id: 'bridge-insecure',
    severity: 'high',
    points: 8,
    cap: 8,
    why: 'Any certificate of the authority will do, whatever name it has: somebody in between can pose as the other broker.',
    check: ({ configuration }) =>
      configuration.bridges.flatMap(({ name, settings }) => {
        const setting = settingOf(settings, 'bridge_insecure');
        return setting !== undefined && isTrue(setting.value)
          ? [
              {
                place: setting.place,
                title: `the bridge ${name} does not check the host name`,
                fix: ['bridge_insecure false'],
              },
            ]
          : [];
      }),
  },
  {
    id: 'bridge-old-tls',
    severity: 'high',
    points: 8,
    cap: 8,
    why: 'TLS 1.0 and 1.1 are broken and withdrawn (RFC 8996).',
    check: ({ configuration }) =>
      configuration.bridges.flatMap(({ name, settings }) => {
        const setting = settingOf(settings, 'bridge_tls_version');
        return setting !== undefined && !['tlsv1.2', 'tlsv1.3'].includes(setting.value)
          ? [
              {
                place: setting.place,
                title: `the bridge ${name} speaks TLS below 1.2`,
                fix: ['bridge_tls_version tlsv1.2'],
              },
            ]
          : [];
      }),
  },
  {
    id: 'bridge-incomplete',
    severity: 'critical',
    points: 15,
    cap: 15,
    why: 'Mosquitto does not start with a bridge that has no address or no topic.',
    check: ({ configuration }) =>
      configuration.bridges
        .filter(({ settings }) => ['address', 'topic'].some((name) => valueOf(settings, name) === undefined))
        .map(({ name, place }) => ({
          place,
          title: `the bridge ${name} lacks an address or a topic`,
          fix: ['address HOST:8883', 'topic FILTER out 1'],
        })),
  },
];
