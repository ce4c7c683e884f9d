import { spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { BrokerConnection } from '@muster/broker';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { LoneBroker } from './lone-broker.ts';
import { execute, missingProgram, StartedSystem, stateFolder, type Finished } from './system.ts';
import { Terminal, type TerminalPlan } from './tmux.ts';

const reason = missingProgram('tmux', 'mosquitto_pub', 'mosquitto_sub');

const open: Terminal[] = [];

/** `muster watch` in a terminal. */
async function watch(args: string, options: Partial<TerminalPlan> = {}): Promise<Terminal> {
  const terminal = await Terminal.open({ command: `node apps/cli/dist/main.js watch ${args}`, ...options });
  open.push(terminal);
  return terminal;
}

async function until(check: () => Promise<void> | void, timeout = 15_000): Promise<void> {
  await vi.waitFor(check, { timeout, interval: 50 });
}

describe.skipIf(reason !== undefined)(
  `muster watch in a terminal${reason === undefined ? '' : ` (skipped: ${reason})`}`,
  () => {
    let broker: LoneBroker;

    /** `muster watch` of this broker. */
    async function watchBroker(args: string, options: Partial<TerminalPlan> = {}): Promise<Terminal> {
      const environment = { ...broker.environment, ...options.environment };
      return watch(`--broker ${broker.url} ${args}`, { ...options, environment });
    }

    beforeAll(async () => {
      broker = await LoneBroker.start();
    });
    afterEach(async () => {
      for (const terminal of open.splice(0)) await terminal.close();
    });
    afterAll(async () => {
      await broker.stop();
    });

    it('shows devices with last values, time, QoS, presence with its reason, totals and the last update', async () => {
      const terminal = await watchBroker('');
      await terminal.untilShown(/connected to mqtt:\/\/127\.0\.0\.1/);
      await broker.publish('devices/lab1/status', '{"status":"online","session":7}', '-r', '-q', '1');
      await broker.publish('iotclass/lab1/temperature', '22.50');
      await broker.publish('iotclass/lab1/humidity', '45.30', '-q', '2');
      await broker.publish('devices/lab2/status', '{"status":"offline","reason":"sleep","wake_in":300}', '-q', '1');
      await terminal.untilShown(
        /^lab1 +online \(birth\) {2}since \[\d\d:\d\d:\d\d\] {2}said that it is online$/m,
        /^ {2}temperature +22\.5 °C +\[\d\d:\d\d:\d\d\] +QoS 0$/m,
        /^ {2}humidity +45\.3 % +\[\d\d:\d\d:\d\d\] +QoS 2$/m,
        /^lab2 +asleep \(sleep\).*for 300 s$/m,
        /^ Messages 4 .* Last update \[\d\d:\d\d:\d\d\] {3}Devices 2: 1 online, 1 asleep$/m,
      );
    });

    it('says that a device is lost and why, as soon as its will is published', async () => {
      const topic = 'devices/sensor42/status';
      const terminal = await watchBroker(topic);
      await terminal.untilShown(/connected/);
      const will = ['--will-topic', topic, '--will-payload', 'offline', '--will-retain', '-t', 'nothing'];
      const device = spawn(...broker.client('mosquitto_sub', ...will), { stdio: 'ignore' });
      await broker.publish(topic, 'online', '-r');
      await terminal.untilShown(/^sensor42 +online \(birth\)/m);
      device.kill('SIGKILL');
      await terminal.untilShown(/^sensor42 +lost \(will\) .*its will was published/m);
    });

    it('takes wildcards, and marks what the broker had kept', async () => {
      await broker.publish('home/hall/motion', 'true', '-r', '-q', '1');
      await broker.publish('garage/door', '{"open":true,"note":"\\u001b[2J"}', '-r');
      const terminal = await watchBroker(`'home/#' 'garage/+'`);
      await terminal.untilShown(/^hall-motion/m, /^ {2}motion +true +\[.*\] +QoS 1 {2}retained$/m);
      await terminal.untilShown(/^garage\/door/m, /^ {2}open +true/m);
      await broker.publish('home/attic/light/state', 'ON');
      await broker.publish('iotclass/lab1/temperature', '99');
      await terminal.untilShown(/^attic-light/m, /Messages 3 /);
      expect(await terminal.text()).not.toMatch(/temperature/);
    });

    it('colours and marks values beyond their thresholds; without colours the marks stay', async () => {
      const args = `'devices/+/telemetry' --threshold 'temp>30' --threshold 'temp>40:critical'`;
      const [coloured, plain, forced] = await Promise.all([
        watchBroker(args),
        watchBroker(args, { environment: { NO_COLOR: '1' } }),
        watchBroker(`${args} --no-color`, { environment: { FORCE_COLOR: '1' } }),
      ]);
      for (const terminal of [coloured, plain, forced]) await terminal.untilShown(/connected/);
      await broker.publish('devices/warm/telemetry', '{"temp":31}');
      await broker.publish('devices/hot/telemetry', '{"temp":41}');
      await broker.publish('devices/low/telemetry', '{"vbat":3.1}');
      for (const terminal of [coloured, plain, forced])
        await terminal.untilShown(/temp +31 °C ! /, /temp +41 °C !! /, /vbat +3\.1 V !! /, /2 critical {3}1 warn/);
      const colours = /\u001b\[(?:\d+;)*(?:3[0-7]|4[0-7]|9[0-7]|38|48)(?:;\d+)*m/;
      expect(await coloured.styled()).toMatch(/\u001b\[[\d;]*33m31 °C !/);
      expect(await coloured.styled()).toMatch(/\u001b\[[\d;]*31m41 °C !!/);
      for (const terminal of [plain, forced]) expect(await terminal.styled()).not.toMatch(colours);
    });

    it('shows 1,000 messages a second without flicker, and counts every one', async () => {
      const terminal = await watchBroker(`'devices/+/telemetry'`, { columns: 100, rows: 40 });
      await terminal.untilShown(/connected/);
      const publisher = new BrokerConnection({
        ...{ broker: { name: 'test', url: broker.url, ...broker.account }, clientId: 'load', sessionExpirySeconds: 0 },
      });
      await publisher.whenReady(5_000);
      for (let index = 0; index < 20; index += 1)
        await publisher.publish(`devices/load-${index}/telemetry`, '{"temp":0,"hum":0}');
      await terminal.untilShown(/Messages 20 /);

      const seconds = 6;
      const total = seconds * 1_000;
      const before = terminal.recorded().length;
      const startedAt = performance.now();
      const captures: (readonly string[])[] = [];
      const published = new AbortController();
      const capturing = (async () => {
        while (!published.signal.aborted) captures.push(await terminal.rows());
      })();
      const sent: Promise<number>[] = [];
      while (sent.length < total) {
        const due = Math.min(total, performance.now() - startedAt);
        while (sent.length < due) {
          const payload = JSON.stringify({ temp: sent.length / 100, hum: sent.length % 100 });
          sent.push(publisher.publish(`devices/load-${sent.length % 20}/telemetry`, payload));
        }
        await delay(5);
      }
      await Promise.all(sent);
      const tookSeconds = (performance.now() - startedAt) / 1000;
      published.abort();
      await capturing;
      await terminal.untilShown(new RegExp(`Messages ${(total + 20).toLocaleString('en')} `));
      await publisher.close();

      const written = terminal.recorded().subarray(before).toString();
      const frames = written.split('\u001b[?2026h').length - 1;
      const perSecond = { frames: frames / tookSeconds, bytes: written.length / tookSeconds };
      process.stderr.write(
        `1,000 messages a second: ${perSecond.frames.toFixed(1)} frames/s, ${Math.round(perSecond.bytes)} bytes/s, ${captures.length} captures\n`,
      );
      expect(frames).toBeGreaterThan(seconds);
      expect(perSecond.frames).toBeLessThan(7);
      // 36 rows of the list change; each is 60 characters wide and has its position.
      expect(perSecond.bytes).toBeLessThan(40_000);
      expect(written).not.toMatch(/\u001b\[[0-3]?J/);
      expect(captures.length).toBeGreaterThan(20);
      for (const rows of captures) {
        expect(rows[0]).toMatch(/^ muster watch .*\d\d:\d\d:\d\d$/);
        expect(rows.slice(2, 38).filter((row) => /^(?:load-\d+ +unknown| {2}(?:temp|hum) +\d)/.test(row))).toHaveLength(
          36,
        );
        expect(rows[38]).toMatch(/^ Messages [\d,]+ /);
      }
    });

    it('fits the window when it changes, and scrolls', async () => {
      for (let index = 1; index <= 12; index += 1)
        await broker.publish(`home/r${index}/motion`, 'true', '-r', '-q', '1');
      const terminal = await watchBroker(`'home/+/motion'`, { rows: 14 });
      await terminal.untilShown(/^ muster watch/, /1–10 of 26/);
      await terminal.press('Down', 'Down', 'Down', 'Down');
      await terminal.untilShown(/^r2-motion/m, /5–14 of 26/);
      await terminal.press('PageDown');
      await terminal.untilShown(/15–24 of 26/);
      await terminal.press('G');
      await terminal.untilShown(/^r12-motion/m, /17–26 of 26/);
      await terminal.resize(60, 40);
      await until(async () => {
        const rows = await terminal.rows();
        expect(rows).toHaveLength(40);
        expect(rows[0]).toMatch(/^ muster watch/);
        expect(rows[2]).toMatch(/^hall-motion/);
        expect(rows[38]).toMatch(/^ Messages/);
        expect(rows.filter((row) => row.startsWith(' muster watch'))).toHaveLength(1);
      });
      await terminal.resize(25, 3);
      await until(async () => {
        const rows = await terminal.rows();
        expect(rows[1]).toMatch(/^ Messages/);
      });
      for (let index = 1; index <= 12; index += 1) await broker.publish(`home/r${index}/motion`, '', '-r', '-q', '1');
    });

    it('is not broken by what others write', async () => {
      const terminal = await watchBroker(`'hostile/#'`, { columns: 80, rows: 20 });
      await terminal.untilShown(/connected/);
      const wide = '漢'.repeat(200);
      const texts = [
        '\u001b[2J\u001b[H\u001b]0;title\u0007gone',
        wide,
        '👨‍👩‍👧 x',
        'a\r\nb',
        '\u202Ereversed',
        'e\u0335\u0336\u0337\u0338',
      ];
      for (const [index, text] of texts.entries()) await broker.publish(`hostile/${index}`, text);
      // Mosquitto takes no control characters in a topic.
      await broker.publish('hostile/\u202Ered/漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字', '1');
      await terminal.untilShown(/Messages 7 /);
      const rows = await terminal.rows();
      expect(rows).toHaveLength(20);
      expect(rows[0]).toMatch(/^ muster watch/);
      expect(rows[18]).toMatch(/^ Messages 7 /);
      expect(rows[3]).toMatch(/^ {2}0 +\uFFFD\[2J\uFFFD\[H\uFFFD\]0;title\uFFFDgone +\[.*QoS 0$/);
      expect(rows.join('\n')).toMatch(/漢…? +\[\d\d:\d\d:\d\d\]/);
    });

    it('explains itself with ?, and gives the terminal back with q and with Ctrl-C', async () => {
      for (const key of ['q', 'C-c']) {
        const terminal = await watchBroker('');
        await terminal.untilShown(/connected/);
        expect(await terminal.isFullScreen()).toBe(true);
        await terminal.press('?');
        await terminal.untilShown(/Ctrl-C +leave/);
        await terminal.press('?');
        await until(async () => expect(await terminal.text()).not.toMatch(/Ctrl-C +leave/));
        await terminal.press(key);
        await terminal.untilShown(/^before\n(?:.*\n)*muster: .* messages of .* devices in \d+ s\nleft with 0$/m);
        expect(await terminal.isFullScreen()).toBe(false);
        expect(await terminal.text()).not.toMatch(/muster watch {2}mqtt/);
        // The terminal shows again what is typed, and the cursor.
        await terminal.press('echo', 'Space', 'typed', 'Enter');
        await terminal.untilShown(/^echo typed\ntyped$/m);
        expect(terminal.recorded().toString().lastIndexOf('\u001b[?25h')).toBeGreaterThan(
          terminal.recorded().toString().lastIndexOf('\u001b[?25l'),
        );
      }
    });

    it('says that the broker is away, and goes on by itself when it is back', async () => {
      const terminal = await watchBroker(`'devices/back/#'`);
      await terminal.untilShown(/connected/);
      await broker.kill();
      await terminal.untilShown(/is away \(.*\); trying again in \d+\.\d s/);
      await broker.startAgain();
      await terminal.untilShown(/connected to/);
      await broker.publish('devices/back/telemetry', '{"temp":21}');
      await terminal.untilShown(/^back +unknown/m, /temp +21 °C/);
    });
  },
);

describe.skipIf(reason !== undefined)('muster watch through the API', () => {
  let system: StartedSystem;
  let access: Record<string, string>;

  beforeAll(async () => {
    system = await StartedSystem.start(['--devices', '3', '--dir', stateFolder()]);
    access = { MUSTER_URL: system.address.api.url, MUSTER_TOKEN: system.address.api.token };
  });
  afterAll(async () => {
    for (const terminal of open.splice(0)) await terminal.close();
    await system.stop();
  });

  it('shows the fleet with presence, reasons and values that go on, and only what was asked for', async () => {
    const terminal = await watch('', { environment: access });
    await terminal.untilShown(
      /^virtual-1 +online \(birth\) {2}since \[\d\d:\d\d:\d\d\] {2}The device said that it is online\.$/m,
      /^ {2}temp +-?[\d.]+ °C +\[\d\d:\d\d:\d\d\]/m,
      /Devices 3: 3 online/,
    );
    await until(async () => expect(await terminal.text()).toMatch(/Readings [1-9]/));
    const some = await watch(`'virtual-2/temp'`, { environment: access });
    await some.untilShown(/^virtual-2 /m, /^ {2}temp /m, /Devices 1: 1 online/);
    expect(await some.text()).not.toMatch(/^ {2}hum /m);
  });

  it('says that the API is away, and goes on by itself when it is back', async () => {
    const terminal = await watch('', { environment: access });
    await terminal.untilShown(/Devices 3: 3 online/);
    process.kill(system.address.pids['registry'] ?? 0, 'SIGKILL');
    await terminal.untilShown(/^ (?:no API at|no live values).*/m);
    await until(async () => expect((await terminal.rows())[1]).toMatch(/live from|asking for all devices/), 30_000);
  });

  it('refuses a filter for a broker, and a token that is none, in a line that says why', async () => {
    const run = (...args: readonly string[]): Promise<Finished> =>
      execute('node', ['apps/cli/dist/main.js', 'watch', ...args], 20_000, { ...access, MUSTER_TOKEN: 'wrong' });
    expect(await run('devices/+/telemetry')).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining('topics are for --broker'),
    });
    expect(await run('--ca', 'x')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--ca goes with --broker'),
    });
    expect(await run()).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/muster: 401: /) });
  });
});
