import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createServer } from 'node:tls';
import { CertificateFolder } from '@muster/security';
import type { Logger } from '@muster/service';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { FleetStore } from './fleet-store.ts';
import { brokerCertificateEnd, certificatesOf, daysLeft, ingestionFigures, Probes } from './probes.ts';
import type { Measurement } from './running-rule.ts';

describe('figures of ingestion', () => {
  it('are read from its metrics, and summed over their labels', () => {
    const figures = ingestionFigures(`# HELP muster_ingestion_in_hand Messages
# TYPE muster_ingestion_in_hand gauge
muster_ingestion_in_hand{broker="a",service="ingestion"} 12
muster_ingestion_in_hand{broker="b",service="ingestion"} 30
muster_ingestion_waiting_lines{service="ingestion"} 1.5e3
muster_ingestion_spool_bytes 7 1698765432123
process_cpu_seconds_total 4
muster_ingestion_broken nonsense
`);
    expect([...figures]).toEqual([
      ['in_hand', 42],
      ['waiting_lines', 1500],
      ['spool_bytes', 7],
    ]);
  });

  it('are of the fullest queue, and of the one that is full first: a sum of shares would mean nothing', () => {
    const figures = ingestionFigures(`muster_ingestion_broker_queue_share{broker="a"} 0.3
muster_ingestion_broker_queue_share{broker="b"} 0.4
muster_ingestion_broker_queue_minutes_left{broker="a"} 12
muster_ingestion_broker_queue_minutes_left{broker="b"} 90
`);
    expect([...figures]).toEqual([
      ['broker_queue_share', 0.4],
      ['broker_queue_minutes_left', 12],
    ]);
  });
});

describe('the canary of ingestion', () => {
  let answer = '';
  let url = '';
  let close = (): void => undefined;

  beforeAll(async () => {
    const server = createHttpServer((_, response) => response.end(answer));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    url = `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}/metrics`;
    close = () => void server.close();
  });
  afterAll(() => close());

  async function measured(...ingestionUrls: string[]): Promise<readonly [string, number][]> {
    const told: [string, number][] = [];
    const probes = new Probes({
      ...{ store: {} as unknown as FleetStore, brokers: [], ingestionUrls, logger: {} as unknown as Logger },
      uses: (source) => source.startsWith('ingestion '),
      onMeasurement: ({ source, value }) => told.push([source, value]),
      onHeard: () => undefined,
    });
    const failure = await probes.again().then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure === undefined).toBe(!ingestionUrls.includes(NOBODY));
    return told;
  }
  const NOBODY = 'http://127.0.0.1:1/metrics';

  it('is missing at as many brokers as ingestion says', async () => {
    answer = 'muster_ingestion_canary_missing{broker="a"} 1\nmuster_ingestion_canary_missing{broker="b"} 0\n';
    expect(await measured(url, url)).toEqual([['ingestion canary_missing', 2]]);
  });

  it('is missing as well where ingestion does not answer, of which nothing else is known', async () => {
    answer = 'muster_ingestion_canary_missing{broker="a"} 0\nmuster_ingestion_in_hand{broker="a"} 7\n';
    expect(await measured(url)).toEqual([
      ['ingestion canary_missing', 0],
      ['ingestion in_hand', 7],
    ]);
    expect(await measured(url, NOBODY)).toEqual([['ingestion canary_missing', 1]]);
    expect(await measured(NOBODY, NOBODY)).toEqual([['ingestion canary_missing', 2]]);
  });
});

describe('the queues of brokers', () => {
  it('of several processes of ingestion are judged by the fullest', async () => {
    const told: [string, number][] = [];
    const serve = async (answer: string): Promise<{ readonly url: string; readonly close: () => void }> => {
      const server = createHttpServer((_, response) => response.end(answer));
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      return { url: `http://127.0.0.1:${port}/metrics`, close: () => void server.close() };
    };
    const servers = [
      await serve('muster_ingestion_broker_queue_share{broker="a"} 0.6\n'),
      await serve('muster_ingestion_broker_queue_share{broker="b"} 0.2\n'),
    ];
    const probes = new Probes({
      ...{ store: {} as unknown as FleetStore, brokers: [], logger: {} as unknown as Logger },
      ingestionUrls: servers.map(({ url }) => url),
      uses: (source) => source.startsWith('ingestion '),
      onMeasurement: ({ source, value }) => told.push([source, value]),
      onHeard: () => undefined,
    });
    await probes.again();
    for (const { close } of servers) close();
    expect(told).toEqual([['ingestion broker_queue_share', 0.6]]);
  });
});

describe('certificates', () => {
  const root = mkdtempSync(path.join(tmpdir(), 'muster-probes-'));
  const folder = new CertificateFolder(root);
  let port = 0;
  let close = (): void => undefined;

  beforeAll(async () => {
    await folder.issue([{ broker: 'mosquitto-0', hosts: ['localhost'] }]);
    const { certificate, key } = folder.read('mosquitto-0');
    const server = createServer({ cert: certificate, key }, (socket) => socket.end());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    port = typeof address === 'object' && address !== null ? address.port : 0;
    close = () => void server.close();
  });
  afterAll(() => {
    close();
    rmSync(root, { recursive: true });
  });

  it('of a broker are looked at over TLS, also where nobody vouches for them', async () => {
    const broker = { name: 'mosquitto-0', url: `mqtts://127.0.0.1:${port}`, username: undefined, password: undefined };
    const end = await brokerCertificateEnd(broker);
    expect(daysLeft(end ?? '', Date.now())).toBeGreaterThan(390);
    expect(daysLeft(end ?? '', Date.now() + 400 * 86_400_000)).toBeLessThan(0);
  });

  it('are looked at at every broker, and it is said which one did not show its own', async () => {
    const target = (name: string, at: number) => ({
      ...{ name, url: `mqtts://127.0.0.1:${at}`, username: undefined, password: undefined },
    });
    const measured: Measurement[] = [];
    const probes = new Probes({
      store: {} as unknown as FleetStore,
      brokers: [target('mosquitto-0', 1), target('mosquitto-1', port)],
      ingestionUrls: [],
      uses: (source) => source === 'certificate',
      onMeasurement: (measurement) => measured.push(measurement),
      onHeard: () => undefined,
      logger: {} as unknown as Logger,
    });
    await expect(probes.again()).rejects.toThrow(/^mosquitto-0: connect ECONNREFUSED/);
    expect(measured.map(({ subject }) => subject)).toEqual(['mosquitto-1']);
  });

  it('are not asked of a broker without TLS', async () => {
    const broker = { name: 'mosquitto-0', url: 'mqtt://127.0.0.1:1', username: undefined, password: undefined };
    expect(await brokerCertificateEnd(broker)).toBeUndefined();
  });

  it('of authorities are read from their file, each of them, and what is none is left out', () => {
    const { certificate } = folder.read('ca');
    const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
    expect(certificatesOf(`${certificate}${broken}${certificate}`)).toHaveLength(2);
    expect(certificatesOf('no certificate')).toEqual([]);
  });
});
