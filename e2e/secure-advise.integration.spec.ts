import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { connect as connectSocket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { findProgram, freePort, ManagedProcess } from '@muster/engines';
import { Advisor, newAuthority, newServerCertificate, type ServerCertificate } from '@muster/security';
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt';
import { afterEach, describe, expect, it, vi } from 'vitest';

const MOSQUITTO = findProgram('mosquitto');
const reason = MOSQUITTO === undefined && process.env['CI'] !== 'true' ? 'there is no mosquitto in PATH' : undefined;
const authority = await newAuthority('Test');
const certificate: ServerCertificate = {
  ca: authority.certificate,
  ...(await newServerCertificate(authority, { broker: 'mosquitto', hosts: ['localhost', '127.0.0.1'] })),
};

const brokers: ManagedProcess[] = [];
const clients: MqttClient[] = [];

/** A folder that the broker may enter when it has given up root. */
function folder(): string {
  const made = mkdtempSync(path.join(tmpdir(), 'muster-advise-'));
  chmodSync(made, 0o755);
  return made;
}

function configurationFile(text: string): string {
  const file = path.join(folder(), 'mosquitto.conf');
  writeFileSync(file, text);
  return file;
}

async function answers(port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const socket = connectSocket(port, '127.0.0.1', () => {
      socket.destroy();
      resolve();
    });
    socket.on('error', reject);
  });
}

/** Starts the real broker with a configuration; it must neither refuse it nor end. */
async function start(file: string, port: number): Promise<{ readonly log: () => string }> {
  const logFile = path.join(folder(), 'mosquitto.log');
  const broker = await ManagedProcess.start({ name: 'advised', command: MOSQUITTO ?? '', args: ['-c', file], logFile });
  brokers.push(broker);
  const log = (): string => readFileSync(logFile, 'utf8');
  await vi.waitFor(
    async () => {
      if (broker.end !== undefined) return;
      await answers(port);
    },
    { timeout: 10_000 },
  );
  // A TLS listener also logs an OpenSSL error for the probe above.
  expect([broker.end, log()]).toEqual([undefined, expect.not.stringMatching(/^\d+: Error/m)]);
  return { log };
}

async function client(url: string, options: IClientOptions = {}): Promise<MqttClient> {
  const connected = await connectAsync(url, { reconnectPeriod: 0, connectTimeout: 5_000, ...options }, false);
  clients.push(connected);
  return connected;
}

const tls = { ca: certificate.ca, protocolVersion: 5 } as const;

describe.skipIf(reason !== undefined)(
  `muster secure advise, beside a real Mosquitto${reason === undefined ? '' : ` (skipped: ${reason})`}`,
  () => {
    afterEach(async () => {
      await Promise.all(clients.splice(0).map((one) => one.endAsync(true)));
      await Promise.all(brokers.splice(0).map((broker) => broker.stop(5_000)));
    });

    it('calls a broker open that lets anonymous clients in, and writes one that asks for an account over TLS', async () => {
      const port = await freePort();
      const file = configurationFile(`listener ${port}\nallow_anonymous true\n`);
      const advisor = new Advisor(file);
      const before = advisor.advice();
      expect(before.findings.filter(({ severity }) => severity === 'critical').map(({ rule }) => rule)).toEqual([
        'anonymous',
        'plaintext-listener',
      ]);
      await start(file, port);
      expect((await client(`mqtt://127.0.0.1:${port}`)).connected).toBe(true);
      await clients.splice(0)[0]?.endAsync(true);
      await brokers.splice(0)[0]?.stop(5_000);

      const written = advisor.write({ folder: path.join(folder(), 'new'), certificate });
      expect(written.advice.score).toBeGreaterThanOrEqual(95);
      await start(written.file, port);
      const url = `mqtts://127.0.0.1:${port}`;
      await expect(client(`mqtt://127.0.0.1:${port}`)).rejects.toThrow();
      await expect(client(url, { ...tls, clientId: 'nobody' })).rejects.toThrow(/not authorized/i);
      await expect(client(url, { ...tls, clientId: 'a', username: 'muster', password: 'wrong' })).rejects.toThrow(
        /not authorized/i,
      );
      const muster = await client(url, { ...tls, clientId: 'a', ...written.account });
      const received: string[] = [];
      muster.on('message', (topic) => received.push(topic));
      await muster.subscribeAsync(['devices/#', 'elsewhere/#'], { qos: 1 });
      await muster.publishAsync('devices/d1/telemetry', '{}', { qos: 1 });
      await expect(muster.publishAsync('elsewhere/x', '1', { qos: 1 })).rejects.toThrow(/not authorized/i);
      await vi.waitFor(() => expect(received).toEqual(['devices/d1/telemetry']));
    });

    it("finds the open listener of the course's Lab 4, and writes it without", async () => {
      const [plain, encrypted] = [await freePort(), await freePort()];
      const made = folder();
      for (const [name, text] of Object.entries({ 'ca.crt': certificate.ca, 'server.crt': certificate.certificate }))
        writeFileSync(path.join(made, name), text);
      writeFileSync(path.join(made, 'server.key'), certificate.key, { mode: 0o600 });
      const passwd = path.join(made, 'passwd');
      await promisify(execFile)('mosquitto_passwd', ['-b', '-c', passwd, 'iotuser', 'course-password']);
      const file = path.join(made, 'mosquitto.conf');
      writeFileSync(
        file,
        `# Default listener (disabled)
listener ${plain}
allow_anonymous false

# TLS listener
listener ${encrypted}
cafile ${made}/ca.crt
certfile ${made}/server.crt
keyfile ${made}/server.key
require_certificate false

# Password file
password_file ${passwd}

# Logging
log_dest stderr
log_type all
`,
      );
      const advisor = new Advisor(file);
      expect(advisor.advice().findings[0]).toMatchObject({ rule: 'plaintext-listener', line: 2, points: 25 });
      // As root the broker would give up root and could not read the files; the listener is what matters here.
      const asItself = process.getuid?.() === 0 ? 'user root\n' : '';
      writeFileSync(path.join(made, 'as-root.conf'), asItself + readFileSync(file, 'utf8'));
      await start(path.join(made, 'as-root.conf'), plain);
      const account = { username: 'iotuser', password: 'course-password' };
      expect((await client(`mqtt://127.0.0.1:${plain}`, account)).connected).toBe(true);
      await clients.splice(0)[0]?.endAsync(true);
      await brokers.splice(0)[0]?.stop(5_000);

      // A key that only root can read is none for the broker, so as root one is given; else the one that is there is kept.
      const given = process.getuid?.() === 0 ? { certificate } : {};
      const written = advisor.write({ folder: path.join(folder(), 'new'), ...given });
      expect([written.account, written.advice.score >= 95]).toEqual([undefined, true]);
      const { log } = await start(written.file, encrypted);
      expect((await client(`mqtts://127.0.0.1:${encrypted}`, { ...tls, ...account, clientId: 'iot' })).connected).toBe(
        true,
      );
      await expect(client(`mqtt://127.0.0.1:${plain}`, account)).rejects.toThrow('ECONNREFUSED');
      expect(log()).not.toContain(String(plain));
    });

    it.each([
      ['access of each listener', 'per_listener_settings true\nlistener PORT\nlistener OTHER\nallow_anonymous true\n'],
      ['lines that Mosquitto refuses', 'nosuch 1\nlistener PORT\nlistener PORT\nmax_keepalive 5\nuser root\n'],
      ['a misplaced option', 'certfile /nonexistent\nlistener PORT\nmount_point x/\nlistener OTHER 127.0.0.1\n'],
      ['a bridge', 'listener PORT\nconnection b\naddress 127.0.0.1:1\ntopic a/# out 1\nstart_type lazy\n'],
      [
        'every limit',
        'listener PORT\nmax_qos 1\nmax_topic_alias 5\nmessage_size_limit 9\nmemory_limit 0\nlog_type all\n',
      ],
      ['nothing but WebSockets', 'listener PORT\nprotocol websockets\n'],
    ])('writes what the broker starts with, from %s', async (_, text) => {
      const [port, other] = [await freePort(), await freePort()];
      const file = configurationFile(text.replaceAll('PORT', String(port)).replaceAll('OTHER', String(other)));
      const written = new Advisor(file).write({ folder: path.join(folder(), 'new'), certificate });
      expect(written.advice.score).toBeGreaterThanOrEqual(95);
      await start(written.file, port);
    });

    it.for([
      ['an option of listeners above the first of them', 'max_connections 5\n', 1883, 'anonymous'],
      ['no listener, whatever allow_anonymous says', 'allow_anonymous false\n', 1883, 'anonymous-on-this-machine'],
    ] as const)('is right that anonymous clients are let in with %s', async ([, text, port, rule], { skip }) => {
      const file = configurationFile(text);
      expect(new Advisor(file).advice().findings.map((finding) => finding.rule)).toContain(rule);
      const isTaken = await answers(port).then(
        () => true,
        () => false,
      );
      // Without a listener line the broker knows no other port.
      if (isTaken) skip(`somebody listens on port ${port}`);
      await start(file, port);
      expect((await client(`mqtt://127.0.0.1:${port}`)).connected).toBe(true);
    });

    it('is right that a listener with half of its TLS options speaks plaintext', async () => {
      const port = await freePort();
      const file = configurationFile(`listener ${port}\ncertfile /nonexistent.crt\nallow_anonymous true\n`);
      expect(new Advisor(file).advice().findings.map(({ rule }) => rule)).toContain('incomplete-tls');
      await start(file, port);
      expect((await client(`mqtt://127.0.0.1:${port}`)).connected).toBe(true);
    });

    it.each(['websockets', 'mqtt'])(
      'writes what a device with an account of its own can use (%s)',
      async (protocol) => {
        const port = await freePort();
        const made = folder();
        const passwd = path.join(made, 'passwd');
        await promisify(execFile)('mosquitto_passwd', ['-b', '-c', passwd, 'd1', 'device-password']);
        const file = path.join(made, 'mosquitto.conf');
        writeFileSync(
          file,
          `listener ${port}\nprotocol ${protocol}\nlistener ${await freePort()} 127.0.0.1\npassword_file ${passwd}\n`,
        );
        const written = new Advisor(file).write({ folder: path.join(folder(), 'new'), certificate });
        expect(written.advice.score).toBeGreaterThanOrEqual(95);
        await start(written.file, port);
        const scheme = protocol === 'mqtt' ? 'mqtts' : 'wss';
        const device = await client(`${scheme}://127.0.0.1:${port}`, {
          ...{ ...tls, clientId: 'd1', username: 'd1', password: 'device-password' },
          // The certificate of the test is no web server's; WebSocket options stand apart in mqtt.js.
          wsOptions: { ca: certificate.ca },
        });
        await device.publishAsync('devices/d1/telemetry', '{}', { qos: 1 });
        await expect(device.publishAsync('devices/d2/telemetry', '{}', { qos: 1 })).rejects.toThrow(/not authorized/i);
        await expect(device.publishAsync('muster/x', '{}', { qos: 1 })).rejects.toThrow(/not authorized/i);
      },
    );
  },
);
