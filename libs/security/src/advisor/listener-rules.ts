import { settingOf, valueOf, type Listener, type Setting } from './configuration.ts';
import { isTrue } from './options.ts';
import type { Match, Rule } from './rule.ts';
import { isEncrypted, isLocal, isWebSocket, knowsClientsByCertificate, namedFile, type Subject } from './subject.ts';

const DAY_MS = 86_400_000;
const EXPIRY_WARNING_DAYS = 30;
const RSA_BITS = 2_048;
const TLS_LINES = ['cafile /etc/mosquitto/certs/ca.crt', 'certfile /etc/mosquitto/certs/server.crt'];
const CERTIFICATE_FIX = [...TLS_LINES, 'keyfile /etc/mosquitto/certs/server.key'];

function name(listener: Listener): string {
  const kind = isWebSocket(listener) ? 'WebSocket listener' : 'listener';
  return `${kind} ${listener.port}`;
}

/** Listeners that other machines reach and that do not encrypt. */
function plaintextListeners({ configuration }: Subject): readonly Listener[] {
  return configuration.listeners.filter((listener) => !isLocal(listener) && !isEncrypted(listener));
}

function isCalledDisabled({ comment }: Listener): boolean {
  return /\b(?:disabled?|off|unused|inactive|closed)\b/i.test(comment);
}

function tlsSettings(subject: Subject, names: readonly string[]): readonly Setting[] {
  return subject.configuration.listeners.flatMap(({ settings }) => settings.filter((one) => names.includes(one.name)));
}

/** One match for each certificate that `says` something about. */
function certificates(
  subject: Subject,
  says: (setting: Setting) => string | undefined,
  fix: readonly string[],
): Match[] {
  return tlsSettings(subject, ['certfile', 'cafile']).flatMap((setting) => {
    const title = says(setting);
    return title === undefined ? [] : [{ place: setting.place, title, fix }];
  });
}

function validity(
  subject: Subject,
  setting: Setting,
): { readonly fromMs: number; readonly leftMs: number } | undefined {
  const file = namedFile(subject, setting)?.certificate;
  if (file?.kind !== 'certificate') return undefined;
  const now = subject.evidence.now.getTime();
  return { fromMs: file.facts.validFrom.getTime() - now, leftMs: file.facts.validTo.getTime() - now };
}

/** Rules on listeners and their TLS. */
export const listenerRules: readonly Rule[] = [
  {
    id: 'plaintext-listener',
    severity: 'critical',
    points: 25,
    cap: 40,
    why: 'Whoever is on the way reads every message and every password, and may send commands of their own.',
    check: (subject) =>
      plaintextListeners(subject)
        .filter(({ kind, settings }) => kind !== 'default' || settings.some(({ name: option }) => option === 'port'))
        .map((listener) => {
          const isBesideTls = subject.configuration.listeners.some(isEncrypted);
          const said = isCalledDisabled(listener)
            ? 'is called disabled in the comment, and is open without TLS'
            : undefined;
          const beside = isBesideTls
            ? 'is open without TLS beside the one with TLS'
            : 'is open to other machines without TLS';
          return {
            place: listener.place,
            title: `${name(listener)} ${said ?? beside}`,
            fix: isBesideTls
              ? [`remove the listener, or keep it to this machine: listener ${listener.port} 127.0.0.1`]
              : [`listener ${listener.port}`, ...CERTIFICATE_FIX],
          };
        }),
  },
  {
    id: 'accidental-listener',
    severity: 'critical',
    points: 25,
    cap: 25,
    why: 'An option of listeners above the first listener line opens a listener of its own on port 1883 of every interface, without TLS.',
    check: ({ configuration }) =>
      configuration.listeners
        .filter(({ kind, settings }) => kind === 'default' && !settings.some(({ name: option }) => option === 'port'))
        .map((listener) => ({
          place: listener.place,
          title: `this line opens a listener on port ${listener.port} that nobody asked for`,
          fix: ['write the line below the listener that it is meant for'],
        })),
  },
  {
    id: 'incomplete-tls',
    severity: 'critical',
    points: 10,
    cap: 20,
    why: 'Mosquitto encrypts only with both certfile and keyfile; with one of them it starts and speaks plaintext, without a word.',
    check: ({ configuration }) =>
      configuration.listeners.flatMap((listener) => {
        const tls = listener.settings.filter(({ name: option }) =>
          ['cafile', 'capath', 'certfile', 'keyfile', 'require_certificate'].includes(option),
        );
        const missing = ['certfile', 'keyfile'].filter((option) => settingOf(tls, option) === undefined);
        const first = tls[0];
        if (first === undefined || isEncrypted(listener)) return [];
        return [
          {
            place: first.place,
            title: `${name(listener)} has TLS options but no ${missing.join(' and no ')}, so it is not encrypted`,
            fix: CERTIFICATE_FIX,
          },
        ];
      }),
  },
  {
    id: 'old-tls',
    severity: 'high',
    points: 10,
    cap: 20,
    why: 'TLS 1.0 and 1.1 are broken and withdrawn (RFC 8996); Mosquitto 2 does not start with names that it does not know.',
    check: (subject) =>
      tlsSettings(subject, ['tls_version'])
        .filter(({ value }) => !['tlsv1.2', 'tlsv1.3'].includes(value))
        .map(({ place }) => ({ place, title: 'tls_version is below 1.2', fix: ['tls_version tlsv1.2'] })),
  },
  {
    id: 'tls-file-missing',
    severity: 'critical',
    points: 15,
    cap: 30,
    why: 'Mosquitto does not start without a file that TLS needs.',
    check: (subject) =>
      tlsSettings(subject, ['cafile', 'certfile', 'keyfile', 'crlfile'])
        .filter((setting) => namedFile(subject, setting)?.state === 'missing')
        .map(({ place, name: option }) => ({
          place,
          title: `the file of ${option} does not exist`,
          fix: [`${option} PATH`],
        })),
  },
  {
    id: 'tls-file-unreadable',
    severity: 'advice',
    points: 0,
    cap: 0,
    why: 'The account of the broker must be able to read it; this account cannot, so nothing in it was judged.',
    check: (subject) =>
      tlsSettings(subject, ['cafile', 'certfile', 'keyfile', 'crlfile'])
        .filter((setting) => namedFile(subject, setting)?.state === 'unreadable')
        .map(({ place, name: option }) => ({
          place,
          title: `the file of ${option} cannot be read from here`,
          fix: [],
        })),
  },
  {
    id: 'tls-file-of-root',
    severity: 'critical',
    points: 15,
    cap: 15,
    why: 'The broker gives up root before it reads the file, so it does not start.',
    check: (subject) =>
      tlsSettings(subject, ['cafile', 'certfile', 'keyfile', 'crlfile'])
        .filter((setting) => namedFile(subject, setting)?.readableByRootAlone === true)
        .map(({ place, name: option }) => ({
          place,
          title: `root alone can read the file of ${option}, and the broker is not root`,
          fix: ['chown mosquitto: FILE', 'chmod 600 FILE'],
        })),
  },
  {
    id: 'no-certificate',
    severity: 'critical',
    points: 15,
    cap: 30,
    why: 'Mosquitto does not start with a file that holds no certificate in PEM format.',
    check: (subject) =>
      certificates(
        subject,
        (setting) =>
          namedFile(subject, setting)?.certificate?.kind === 'none'
            ? `the file of ${setting.name} holds no certificate`
            : undefined,
        ['write the certificate in PEM format'],
      ),
  },
  {
    id: 'certificate-expired',
    severity: 'critical',
    points: 20,
    cap: 20,
    why: 'Clients that check the certificate refuse the broker, and those that do not can be talked to by anybody.',
    check: (subject) =>
      certificates(
        subject,
        (setting) => {
          const times = validity(subject, setting);
          if (times === undefined) return undefined;
          if (times.fromMs > 0) return `the certificate of ${setting.name} is not valid yet`;
          return times.leftMs <= 0 ? `the certificate of ${setting.name} has expired` : undefined;
        },
        ['issue a new certificate, then send SIGHUP to Mosquitto'],
      ),
  },
  {
    id: 'certificate-expires-soon',
    severity: 'medium',
    points: 5,
    cap: 5,
    why: 'When it ends every device is locked out at the same moment.',
    check: (subject) =>
      certificates(
        subject,
        (setting) => {
          const left = validity(subject, setting)?.leftMs ?? Infinity;
          const isSoon = left > 0 && left <= EXPIRY_WARNING_DAYS * DAY_MS;
          return isSoon ? `the certificate of ${setting.name} ends in ${Math.ceil(left / DAY_MS)} days` : undefined;
        },
        ['issue a new certificate, then send SIGHUP to Mosquitto'],
      ),
  },
  {
    id: 'weak-key',
    severity: 'high',
    points: 10,
    cap: 10,
    why: 'A key of RSA below 2,048 bits can be broken, and OpenSSL of today refuses it.',
    check: (subject) =>
      certificates(
        subject,
        (setting) => {
          const file = namedFile(subject, setting)?.certificate;
          const bits = file?.kind === 'certificate' ? file.facts.rsaBits : undefined;
          return bits !== undefined && bits < RSA_BITS
            ? `the key in ${setting.name} has ${bits} bits of RSA`
            : undefined;
        },
        ['issue a certificate with a key of ECDSA P-256, or RSA of 2,048 bits and more'],
      ),
  },
  {
    id: 'key-does-not-fit',
    severity: 'critical',
    points: 15,
    cap: 15,
    why: 'Mosquitto does not start when the key is not that of the certificate.',
    check: ({ configuration, evidence }) =>
      configuration.listeners.flatMap(({ settings }) => {
        const key = settingOf(settings, 'keyfile');
        const pair = `${valueOf(settings, 'certfile')}\n${key?.value}`;
        if (key === undefined || evidence.keyFits.get(pair) !== false) return [];
        return [{ place: key.place, title: 'keyfile is not the key of certfile', fix: ['keyfile PATH'] }];
      }),
  },
  {
    id: 'key-readable',
    severity: 'high',
    points: 10,
    cap: 10,
    why: 'Every account of the machine can copy the key and pose as the broker.',
    check: (subject) =>
      tlsSettings(subject, ['keyfile'])
        .filter((setting) => namedFile(subject, setting)?.readableByOthers === true)
        .map(({ place }) => ({
          place,
          title: 'every account of this machine can read the file of keyfile',
          fix: ['chown mosquitto: FILE', 'chmod 600 FILE'],
        })),
  },
  {
    id: 'no-revocation',
    severity: 'advice',
    points: 0,
    cap: 0,
    why: 'A client certificate that was stolen or decommissioned stays good until it ends.',
    check: ({ configuration }) =>
      configuration.listeners
        .filter(isEncrypted)
        .flatMap(({ settings }) =>
          isTrue(valueOf(settings, 'require_certificate')) && settingOf(settings, 'crlfile') === undefined
            ? settings.filter(({ name: option }) => option === 'require_certificate').slice(-1)
            : [],
        )
        .map(({ place }) => ({
          place,
          title: 'require_certificate without crlfile',
          fix: ['crlfile /etc/mosquitto/certs/ca.crl'],
        })),
  },
  {
    id: 'websockets-alone',
    severity: 'critical',
    points: 15,
    cap: 15,
    why: 'Mosquitto 2.0.11 does not count WebSocket listeners: without another one it ends with “Unable to start any listening sockets”.',
    check: ({ configuration: { listeners } }) => {
      const [first] = listeners;
      return first !== undefined && listeners.every(isWebSocket)
        ? [
            {
              place: first.place,
              title: 'every listener is a WebSocket listener, so the broker does not start',
              fix: ['listener 1883 127.0.0.1'],
            },
          ]
        : [];
    },
  },
  {
    id: 'client-id-is-free',
    severity: 'low',
    points: 2,
    cap: 2,
    why: 'Any account may connect under the client id of another, end its connection and take over its session with all that waits in it.',
    check: ({ configuration }) =>
      configuration.listeners
        .filter((listener) => !isLocal(listener) && isEncrypted(listener) && !knowsClientsByCertificate(listener))
        .filter(({ settings }) => !isTrue(valueOf(settings, 'use_username_as_clientid')))
        .map((listener) => ({
          place: listener.place,
          title: `${name(listener)} lets clients choose their client id`,
          fix: [
            'on the listener of devices, each of which has an account of its own (services keep another listener):',
            'use_username_as_clientid true',
          ],
        })),
  },
];
