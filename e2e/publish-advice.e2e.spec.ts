import type { Alert, AlertPage, DevicePage, Problem, PublishAdviceAnswer } from '@muster/contract';
import { freePort } from '@muster/engines';
import mqtt from 'mqtt';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { SystemOfFile } from './system-of-file.ts';
import { curl, deviceOf, execute, influxql, missingProgram, muster, newToken, psql, statusAs } from './system.ts';

const METRICS_PORT = await freePort();
const system = new SystemOfFile(['--brokers', '2', '--port', `ingestion=${METRICS_PORT}`]);
const HOUR_MS = 3_600_000;
const SAMPLES = 240;

async function advice(
  query: string,
  device = 'lab1',
): Promise<{ readonly status: number; readonly answer: PublishAdviceAnswer; readonly problem: Problem }> {
  const { status, body } = await curl(system.address, `/api/v1/devices/${device}/publish-advice?${query}`);
  return { status, answer: body as PublishAdviceAnswer, problem: body as Problem };
}

/** Four hours of samples a minute apart, the last of them an hour ago: 20.0 and 20.2 °C in turn, from the third hour on 25. */
async function fourHours(): Promise<void> {
  const { broker } = system.address;
  const { username, password } = broker;
  const client = await mqtt.connectAsync(broker.urls[0] ?? '', { username, password });
  const beganMs = Date.now() - 5 * HOUR_MS;
  for (let n = 0; n < SAMPLES; n += 1) {
    const temp = n >= SAMPLES / 2 ? 25 : n % 2 === 0 ? 20 : 20.2;
    const reading = { temp, vbat: 3.9, door: n < 30, ts: beganMs + n * 60_000 };
    await client.publishAsync('devices/lab1/telemetry', JSON.stringify(reading), { qos: 1 });
  }
  await client.publishAsync('devices/quiet/status', 'online', { qos: 1, retain: true });
  await client.endAsync();
  await vi.waitFor(
    async () => {
      expect(await deviceOf(system.address, 'lab1')).toMatchObject({ traffic: { messages: SAMPLES } });
      expect(await deviceOf(system.address, 'quiet')).toMatchObject({ id: 'quiet' });
    },
    { timeout: 20_000, interval: 250 },
  );
}

describe('advice how to publish', { timeout: 60_000 }, () => {
  beforeAll(fourHours);

  it('says what a dead-band and a heartbeat would have saved, and the error that they would have made', async () => {
    const { status, answer } = await advice('deadband=0.5&heartbeat=1h&price=2');
    expect(status).toBe(200);
    // The first, the door, each hour, and 25 °C, which comes with an hour.
    expect(answer).toMatchObject({
      device: 'lab1',
      truncated: null,
      terms: { heartbeatSeconds: 3_600, dollarsPerMillionMessages: 2, priceFrom: 'price=' },
      everySample: { messages: SAMPLES },
      onChange: { messages: 5 },
      saved: { messages: 235, dollars: 0.00047 },
    });
    expect(answer.saved.bytes).toBeCloseTo(235 * answer.terms.messageBytes, 6);
    expect(answer.terms.messageBytes).toBeGreaterThan(40);
    expect(Date.parse(answer.to) - Date.parse(answer.from)).toBe((SAMPLES - 1) * 60_000);
    const of = (name: string): PublishAdviceAnswer['metrics'][number] | undefined =>
      answer.metrics.find(({ metric }) => metric === name);
    expect(answer.metrics.map(({ metric }) => metric).sort()).toEqual(['door', 'temp', 'vbat']);
    expect(of('temp')).toMatchObject({ deadBand: 0.5, samples: SAMPLES, messages: 4 });
    expect(of('temp')?.maximumError).toBeCloseTo(0.2, 9);
    expect(of('temp')?.meanError).toBeGreaterThan(0);
    expect(of('door')).toMatchObject({ deadBand: 0, messages: 5, maximumError: 0 });
  });

  it('is about one metric, another dead-band and a shorter time where it is asked so', async () => {
    const one = await advice('metric=vbat&heartbeat=7d');
    expect(one.answer).toMatchObject({ onChange: { messages: 1 }, metrics: [{ metric: 'vbat', messages: 1 }] });
    const strict = await advice('deadband=10&deadband=temp:0.1&metric=temp&heartbeat=7d');
    expect(strict.answer.onChange.messages).toBe(SAMPLES / 2 + 1);
    const short = await advice('metric=temp&range=2h');
    expect(short.answer.everySample.messages).toBeGreaterThan(50);
    expect(short.answer.everySample.messages).toBeLessThanOrEqual(61);
  });

  it.each<[string, string, string, number, RegExp]>([
    ['nobody knows the device', 'nobody', '', 404, /no device nobody/],
    ['nothing was ever stored of it', 'quiet', '', 409, /never sent telemetry/],
    ['nothing is stored in the time', 'lab1', 'range=10m', 409, /ask for a longer range/],
    ['the device has no such metric', 'lab1', 'metric=humidity', 422, /it has door, temp, vbat/],
    ['the dead-band is none', 'lab1', 'deadband=-1', 422, /expected a change in the unit of the metric, such as 0.5/],
    ['a metric would leave its quotes', 'lab1', 'metric=temp%22%20FROM%20x', 422, /expected the name of a metric/],
    ['the range is beyond the limit', 'lab1', 'range=365d', 422, /to 31d/],
    ['a word is misspelt', 'lab1', 'dead_band=1', 422, /dead_band/],
    ['the device is none', '%27%20OR%201', '', 422, /expected 1 to 64/],
  ])('is refused where %s', async (_, device, query, status, detail) => {
    const found = await advice(query, device);
    expect([found.status, found.problem.detail]).toEqual([status, expect.stringMatching(detail)]);
  });

  it('is for viewers, and for nobody without a token', async () => {
    const url = `${system.address.api.url}/api/v1/devices/lab1/publish-advice`;
    expect(await statusAs((await newToken(system.address, 'looks', 'viewer')).token, url)).toBe(200);
    expect(await statusAs('none', url)).toBe(401);
  });

  it('is a command, for people and as JSON', async () => {
    const words = ['device', 'advice', 'lab1', '--deadband', '0.5', '--heartbeat', '1h'];
    const { code, stdout } = await muster(system.address, ...words);
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^lab1 {2}5 messages would have done in place of 240: /)]);
    expect(stdout).toMatch(/\ntemp +0\.5 °C +240 +4 +0\.2 °C +/);
    const json = JSON.parse((await muster(system.address, ...words, '--json')).stdout) as PublishAdviceAnswer;
    expect(json.onChange.messages).toBe(5);
    expect(await muster(system.address, 'device', 'advice', 'quiet')).toMatchObject({
      ...{ code: 1, stdout: '', stderr: expect.stringContaining('it has never sent telemetry') },
    });
  });
});

async function figures(name: string): Promise<ReadonlyMap<string, number>> {
  const text = await (await fetch(`http://127.0.0.1:${METRICS_PORT}/metrics`)).text();
  const lines = text.matchAll(new RegExp(`^muster_ingestion_canary_${name}\\{(.*)\\} (\\S+)$`, 'gm'));
  return new Map(
    [...lines].map(([, labels = '', value]) => [/broker="([^"]+)"/.exec(labels)?.[1] ?? '', Number(value)]),
  );
}

const BROKERS = ['mosquitto-0', 'mosquitto-1'];

describe('the canary of the pipeline', { timeout: 150_000 }, () => {
  it('is found at every broker within 10 s of a start, and again every 10 s', async () => {
    const found = async (least: number): Promise<void> => {
      const counts = await figures('seconds_count');
      for (const broker of BROKERS) expect(counts.get(broker)).toBeGreaterThanOrEqual(least);
    };
    await vi.waitFor(() => found(2), { timeout: 25_000, interval: 500 });
    const [seconds, last, missing] = [
      ...[await figures('seconds_sum'), await figures('last_success_timestamp_seconds'), await figures('missing')],
    ];
    const counts = await figures('seconds_count');
    for (const broker of BROKERS) {
      expect((seconds?.get(broker) ?? Infinity) / (counts.get(broker) ?? 0)).toBeLessThan(5);
      expect(Math.abs(Date.now() / 1_000 - (last?.get(broker) ?? 0))).toBeLessThan(25);
      expect(missing?.get(broker)).toBe(0);
    }
  });

  it('is stored beside telemetry and known to nobody as a device, a message of one or a reading', async () => {
    const stored = await influxql(
      system.address,
      'SELECT received_ms FROM canary WHERE time > now() - 1h GROUP BY broker',
    );
    for (const broker of BROKERS) expect(stored).toContain(`"broker":"${broker}"`);
    expect(await influxql(system.address, 'SHOW TAG VALUES FROM telemetry WITH KEY = device')).not.toMatch(
      /canary|mosquitto|services/,
    );
    const { body } = await curl(system.address, '/api/v1/devices');
    expect((body as DevicePage).items.map(({ id }) => id).sort()).toEqual(['lab1', 'quiet']);
    expect(await psql(system.address, 'SELECT count(*) FROM dead_letter')).toBe('0');
    expect(await psql(system.address, 'SELECT sum(messages) FROM device_activity')).toBe(String(SAMPLES));
  });

  it('is published by nobody else', { skip: missingProgram('mosquitto_pub') !== undefined }, async () => {
    const { broker } = system.address;
    const { hostname, port } = new URL(broker.urls[0] ?? '');
    const where = ['-h', hostname, '-p', port, '-u', broker.username, '-P', broker.password, '-V', '5', '-q', '1'];
    const topic = 'muster/services/ingestion/canary/mosquitto-0';
    const { stderr } = await execute('mosquitto_pub', [...where, '-t', topic, '-m', 'x']);
    expect(stderr).toMatch(/not authori[sz]ed/i);
  });

  it('is missing while InfluxDB is away, which alerting and the metrics tell, and advice says so; it comes back by itself', async () => {
    const rule = { name: 'canary-missing', kind: 'ingestion', figure: 'canary_missing', above: 0, for: '1s' };
    const how = ['-X', 'PUT', '--json', JSON.stringify(rule)];
    expect((await curl(system.address, `/api/v1/alert-rules/${rule.name}`, ...how)).status).toBe(200);
    const alerts = async (): Promise<readonly Alert[]> =>
      ((await curl(system.address, `/api/v1/alerts?state=firing&rule=${rule.name}`)).body as AlertPage).items;
    expect(await alerts()).toEqual([]);
    // It is started anew when it has ended; what is stopped is there and does not answer.
    const influxdb = system.pidOf('influxdb');
    process.kill(influxdb, 'SIGSTOP');
    try {
      await vi.waitFor(async () => expect([...(await figures('missing')).values()]).toEqual([1, 1]), {
        timeout: 30_000,
        interval: 500,
      });
      await vi.waitFor(async () => expect(await alerts()).toMatchObject([{ value: 2 }]), {
        timeout: 30_000,
        interval: 500,
      });
      const { status, problem } = await advice('range=24h');
      expect([status, problem.detail]).toEqual([503, expect.stringMatching(/InfluxDB did not answer.*ask again/)]);
    } finally {
      process.kill(influxdb, 'SIGKILL');
    }
    await vi.waitFor(async () => expect([...(await figures('missing')).values()]).toEqual([0, 0]), {
      timeout: 60_000,
      interval: 500,
    });
    await vi.waitFor(async () => expect(await alerts()).toEqual([]), { timeout: 30_000, interval: 500 });
    expect((await advice('deadband=0.5&heartbeat=1h')).answer).toMatchObject({ everySample: { messages: SAMPLES } });
  });
});
