import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { CertificateFolder } from '@muster/security';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LoneBroker } from './lone-broker.ts';
import { execute, missingProgram, type Finished } from './system.ts';

const reason = missingProgram('mosquitto_pub');
const folder = mkdtempSync(path.join(tmpdir(), 'muster-watch-'));

describe.skipIf(reason !== undefined)(
  `muster watch where there is no terminal${reason === undefined ? '' : ` (skipped: ${reason})`}`,
  () => {
    let broker: LoneBroker;

    async function lines(...args: readonly string[]): Promise<Finished> {
      return execute('node', ['apps/cli/dist/main.js', 'watch', ...args], 30_000, broker.environment);
    }

    beforeAll(async () => {
      broker = await LoneBroker.start();
      await broker.publish('devices/lab1/status', 'offline', '-r', '-q', '1');
      await broker.publish('iotclass/lab1/temperature', '22.50', '-r', '-q', '1');
      await broker.publish('iotclass/lab1/humidity', 'wet', '-r', '-q', '1');
    });
    afterAll(async () => {
      await broker.stop();
    });

    it('prints a line for each reading and each change of presence, without control characters', async () => {
      const { code, stdout, stderr } = await lines('--broker', broker.url, '--for', '2s');
      expect([code, stderr]).toEqual([0, `muster: connecting to ${broker.url}\nmuster: connected to ${broker.url}\n`]);
      const time = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`;
      for (const line of [
        'lab1 temperature 22\\.5 °C QoS 1 retained',
        'lab1 lost \\(will\\) retained: its will was published, .*',
        'lab1 unreadable iotclass/lab1/humidity: expected a decimal number .*',
      ])
        expect(stdout).toMatch(new RegExp(`^${time} ${line}$`, 'm'));
      expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f]/);
    });

    it('prints one JSON object a line', async () => {
      const { stdout } = await lines('--broker', broker.url, '--for', '2s', '--json');
      const objects = stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>);
      expect(objects).toContainEqual(
        expect.objectContaining({ event: 'reading', device: 'lab1', metric: 'temperature', value: 22.5, qos: 1 }),
      );
      expect(objects).toContainEqual(expect.objectContaining({ event: 'presence', state: 'lost', reason: 'will' }));
    });

    it('ends quietly when whoever reads has left', async () => {
      const script = `node apps/cli/dist/main.js watch --broker ${broker.url} --plain | head -1; echo "ended with \${PIPESTATUS[0]}"`;
      const watching = execute('bash', ['-c', script], 20_000, broker.environment);
      for (let index = 0; index < 30; index += 1) {
        await broker.publish('iotclass/lab2/temperature', String(index));
        await delay(100);
      }
      const { stdout, stderr } = await watching;
      expect(stdout).toMatch(/^\d{4}-.*\nended with 0\n$/);
      expect(stderr).toBe(`muster: connecting to ${broker.url}\nmuster: connected to ${broker.url}\n`);
    });

    it.each<[string, readonly string[], RegExp]>([
      ['a filter that is none', ['devices/#/status'], /filter "devices\/#\/status": nothing can follow #/],
      [
        'filters that overlap',
        ['devices/+/status', 'devices/lab1/+'],
        /overlap, and what both match would count twice/,
      ],
      ['a threshold that is none', ['--threshold', 'temp'], /expects METRIC>NUMBER.*in quotes/],
      ['an option of the API', ['--profile', 'lab'], /--profile is for the API/],
      ['a topic map that is none', ['--topic-map', '/nonexistent'], /\/nonexistent is not a topic map/],
    ])('refuses %s with a line that says why', async (_, args, why) => {
      const { code, stdout, stderr } = await lines('--broker', broker.url, ...args);
      expect([code, stdout]).toEqual([args.includes('--topic-map') ? 1 : 2, '']);
      expect(stderr).toMatch(why);
    });

    it('refuses a password in the command line and never repeats it', async () => {
      const { code, stderr } = await lines('--broker', 'mqtt://me:hunter2@127.0.0.1');
      expect(code).toBe(2);
      expect(stderr).toMatch(/MUSTER_BROKER_PASSWORD/);
      expect(stderr).not.toContain('hunter2');
    });

    it('ends where the broker refuses the account, and says so', async () => {
      const wrong = path.join(folder, 'wrong');
      writeFileSync(wrong, 'wrong\n');
      const { code, stderr } = await lines('--broker', broker.url, '--password-file', wrong);
      expect(code).toBe(1);
      expect(stderr).toMatch(
        /muster: mqtt:\/\/127\.0\.0\.1:\d+: it (?:lets this account not in|does not take the user name)/,
      );
    });

    it('speaks TLS with the authority that it is given, and with no other', async () => {
      const certificates = new CertificateFolder(path.join(folder, 'tls'));
      await certificates.issue([{ broker: 'mosquitto-tls', hosts: ['127.0.0.1'] }]);
      const ca = certificates.read('ca').certificate;
      const secured = await LoneBroker.start({ ca, ...certificates.read('mosquitto-tls') });
      try {
        const address = secured.url;
        const trusted = await lines('--broker', address, '--ca', path.join(folder, 'tls/ca.crt'), '--for', '2s');
        expect([trusted.code, trusted.stderr]).toEqual([0, expect.stringContaining(`connected to ${address}`)]);
        const untrusted = await lines('--broker', address, '--for', '5s');
        expect([untrusted.code, untrusted.stderr]).toEqual([1, expect.stringMatching(/not trusted.*--ca FILE/)]);
      } finally {
        await secured.stop();
      }
    });
  },
);
