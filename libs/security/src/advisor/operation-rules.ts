import { settingOf, valueOf, type Place } from './configuration.ts';
import { isTrue } from './options.ts';
import type { Match, Rule } from './rule.ts';
import { accessScopes, isLocal, type Subject } from './subject.ts';

/** Seconds of retained state that a crash may take along. */
const LONGEST_AUTOSAVE_SECONDS = 300;
/** Mosquitto's own default, which an outage of seconds fills (mqtt-pitfalls B1). */
const SHORT_QUEUE = 1_000;

/** A match at the option, or at the file where the option is missing. */
function global(
  { configuration }: Subject,
  name: string,
  says: (value: string | undefined) => string | undefined,
  fix: readonly string[],
): readonly Match[] {
  const setting = settingOf(configuration.settings, name);
  const title = says(setting?.value);
  const place: Place = setting?.place ?? { file: configuration.file, line: null };
  return title === undefined ? [] : [{ place, title, fix }];
}

function isPersistent({ configuration }: Subject): boolean {
  return isTrue(valueOf(configuration.settings, 'persistence'));
}

/** Rules on limits, durability and the running of the broker. */
export const operationRules: readonly Rule[] = [
  {
    id: 'no-connection-limit',
    severity: 'low',
    points: 2,
    cap: 2,
    why: 'One loop in one device can take every file descriptor (1,024 by default), and then nobody else connects.',
    check: ({ configuration }) =>
      configuration.listeners
        .filter((listener) => !isLocal(listener))
        .filter(({ settings }) => Number(valueOf(settings, 'max_connections') ?? -1) < 0)
        .map(({ place, port }) => ({
          place,
          title: `listener ${port} takes any number of connections`,
          fix: ['max_connections 1000'],
        })),
  },
  {
    id: 'no-packet-limit',
    severity: 'medium',
    points: 3,
    cap: 3,
    why: 'A packet may have 256 MB, and the broker holds each of them in memory whole.',
    check: (subject) =>
      global(
        subject,
        'max_packet_size',
        (value) => (value === undefined ? 'max_packet_size is not written' : undefined),
        ['max_packet_size 2097152'],
      ),
  },
  {
    id: 'silent-size-limit',
    severity: 'medium',
    points: 4,
    cap: 4,
    why: 'message_size_limit drops larger messages and acknowledges them all the same, so the sender believes that they arrived.',
    check: (subject) =>
      global(
        subject,
        'message_size_limit',
        (value) => (Number(value ?? 0) > 0 ? 'message_size_limit drops silently' : undefined),
        ['max_packet_size 2097152', 'in place of message_size_limit'],
      ),
  },
  {
    id: 'no-keepalive-limit',
    severity: 'low',
    points: 1,
    cap: 1,
    why: 'A client may ask for a keep-alive of 18 hours, and is missed no sooner than that.',
    check: (subject) =>
      global(
        subject,
        'max_keepalive',
        (value) => (Number(value ?? 65_535) === 65_535 ? 'max_keepalive is not limited' : undefined),
        ['max_keepalive 3600'],
      ),
  },
  {
    id: 'short-queue',
    severity: 'medium',
    points: 4,
    cap: 4,
    why: 'What does not fit into the queue of a client that is away or slow is dropped, although its sender got an acknowledgement.',
    check: (subject) =>
      global(
        subject,
        'max_queued_messages',
        (value) => {
          const queued = Number(value ?? SHORT_QUEUE);
          if (queued === 0) return 'max_queued_messages 0 is without limit, and drops everything since 2.0.16';
          const said = value === undefined ? 'max_queued_messages is not written, so' : 'at most';
          return queued <= SHORT_QUEUE ? `${said} ${queued} QoS 1 messages wait for a client` : undefined;
        },
        ['max_queued_messages 1000000'],
      ),
  },
  {
    id: 'inflight',
    severity: 'low',
    points: 1,
    cap: 1,
    why: 'Too few QoS 1 messages under way (20 by default) slow a service down until its queue overflows; without a limit they all wait in memory.',
    check: (subject) =>
      global(
        subject,
        'max_inflight_messages',
        (value) => {
          if (value === undefined) return 'max_inflight_messages is not written';
          return Number(value) === 0 ? 'max_inflight_messages 0 is without limit' : undefined;
        },
        ['max_inflight_messages 1000'],
      ),
  },
  {
    id: 'no-persistence',
    severity: 'medium',
    points: 5,
    cap: 5,
    why: 'A restart forgets every retained status, every session and every message that waits.',
    check: (subject) =>
      global(subject, 'persistence', (value) => (isTrue(value) ? undefined : 'nothing is kept on disk'), [
        'persistence true',
        'persistence_location /var/lib/mosquitto/',
      ]),
  },
  {
    id: 'rare-saves',
    severity: 'low',
    points: 3,
    cap: 3,
    why: 'After a crash the broker is back at its last save: what was cleared or decommissioned since then is there again.',
    check: (subject) => {
      const { settings } = subject.configuration;
      if (!isPersistent(subject) || isTrue(valueOf(settings, 'autosave_on_changes'))) return [];
      return global(
        subject,
        'autosave_interval',
        (value) => {
          const seconds = Number(value ?? 1_800);
          if (seconds <= 0) return 'the state is saved only when the broker ends';
          return seconds > LONGEST_AUTOSAVE_SECONDS ? `the state is saved every ${seconds} seconds` : undefined;
        },
        ['autosave_interval 30'],
      );
    },
  },
  {
    id: 'eternal-sessions',
    severity: 'low',
    points: 2,
    cap: 2,
    why: 'Sessions of clients that never return are kept for ever, with a queue that only grows.',
    check: (subject) =>
      global(
        subject,
        'persistent_client_expiration',
        (value) => (value === undefined ? 'persistent_client_expiration is not written' : undefined),
        ['persistent_client_expiration 14d'],
      ),
  },
  {
    id: 'delayed-packets',
    severity: 'low',
    points: 1,
    cap: 1,
    why: 'Without it small packets wait for each other: 1,000 commands one after the other took 44 to 60 s in place of 0.65 s.',
    check: (subject) =>
      global(subject, 'set_tcp_nodelay', (value) => (isTrue(value) ? undefined : 'set_tcp_nodelay is off'), [
        'set_tcp_nodelay true',
      ]),
  },
  {
    id: 'root',
    severity: 'high',
    points: 8,
    cap: 8,
    why: 'A fault in the broker is then a fault in the whole machine.',
    check: (subject) =>
      global(subject, 'user', (value) => (value === 'root' ? 'the broker keeps running as root' : undefined), [
        'user mosquitto',
      ]),
  },
  {
    id: 'no-log',
    severity: 'medium',
    points: 4,
    cap: 4,
    why: 'Nobody will ever see who was refused, or why the broker ended.',
    check: ({ configuration: { settings } }) =>
      ['log_dest', 'log_type'].flatMap((name) => {
        const last = settingOf(settings, name);
        return last?.value === 'none'
          ? [
              {
                place: last.place,
                title: `${name} none turns the log off`,
                fix: [name === 'log_dest' ? 'log_dest stderr' : 'log_type all'],
              },
            ]
          : [];
      }),
  },
  {
    id: 'no-connection-log',
    severity: 'low',
    points: 1,
    cap: 1,
    why: 'The log then does not tell which client came from where, nor who took over whose session.',
    check: (subject) =>
      global(
        subject,
        'connection_messages',
        (value) => (value === undefined || isTrue(value) ? undefined : 'connections are left out of the log'),
        ['connection_messages true'],
      ),
  },
  {
    id: 'empty-client-ids',
    severity: 'low',
    points: 1,
    cap: 1,
    why: 'A client without an id gets a new one each time: its sessions, its log and its presence cannot be followed.',
    check: ({ configuration }) =>
      accessScopes(configuration).flatMap((scope) => {
        const setting = settingOf(scope.settings, 'allow_zero_length_clientid');
        return setting !== undefined && !isTrue(setting.value)
          ? []
          : [
              {
                place: setting?.place ?? scope.place,
                title: 'clients without a client id are let in',
                fix: ['allow_zero_length_clientid false'],
              },
            ];
      }),
  },
];
