import { mkdtempSync, rmSync } from 'node:fs';
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
