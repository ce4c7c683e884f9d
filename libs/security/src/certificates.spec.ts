import { X509Certificate } from 'node:crypto';
import { mkdtempSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { CertificateFolder, newAuthority, newServerCertificate, renewalReason } from './certificates.ts';

const hosts = ['mosquitto-0.muster.svc', '127.0.0.1', '::1'];
const DAY_MS = 86_400_000;

describe('a server certificate', () => {
  it('is for its names and addresses, by its authority, on P-256, for 397 days', async () => {
    const authority = await newAuthority('Muster');
    const now = new Date();
    const { certificate } = await newServerCertificate(authority, { broker: 'mosquitto-0', hosts }, now);
    const read = new X509Certificate(certificate);
    const ca = new X509Certificate(authority.certificate);
    expect(read.verify(ca.publicKey)).toBe(true);
    expect([ca.ca, read.ca, read.subject, read.issuer]).toEqual([true, false, 'CN=mosquitto-0', 'CN=Muster']);
    expect(read.checkHost('mosquitto-0.muster.svc')).toBeDefined();
    expect(read.checkIP('127.0.0.1')).toBeDefined();
    expect(read.checkHost('mosquitto-1.muster.svc')).toBeUndefined();
    expect(read.publicKey.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
    expect(Math.round((Date.parse(read.validTo) - now.getTime()) / DAY_MS)).toBe(397);
  });

  it('is renewed when it expires soon, lacks a name, or is of another authority', async () => {
    const authority = await newAuthority('Muster');
    const other = await newAuthority('Other');
    const { certificate } = await newServerCertificate(authority, { broker: 'b', hosts });
    const reason = (ca = authority, names = hosts, at = new Date()): string | undefined =>
      renewalReason(certificate, ca.certificate, names, at);
    expect(reason()).toBeUndefined();
    expect(reason(authority, [...hosts, 'broker.example.org'])).toBe('other-names');
    expect(reason(authority, hosts, new Date(Date.now() + 368 * DAY_MS))).toBe('expires-soon');
    expect(reason(other)).toBe('other-authority');
  });
});

describe('a folder of certificates', () => {
  it('is made once, kept after that, and renewed where it is due', async () => {
    const folder = new CertificateFolder(path.join(mkdtempSync(path.join(tmpdir(), 'muster-tls-')), 'tls'));
    const states = async (names: readonly string[], now?: Date): Promise<unknown> =>
      (await folder.issue([{ broker: 'mosquitto-0', hosts: names }], now)).map(({ name, state }) => [name, state]);
    expect(await states(hosts)).toEqual([
      ['ca', 'made'],
      ['mosquitto-0', 'made'],
    ]);
    const first = folder.read('mosquitto-0');
    expect(await states(hosts)).toEqual([
      ['ca', 'kept'],
      ['mosquitto-0', 'kept'],
    ]);
    expect(folder.read('mosquitto-0')).toEqual(first);
    expect(await states(['other.example'])).toEqual([
      ['ca', 'kept'],
      ['mosquitto-0', 'renewed'],
    ]);
    expect(statSync(path.join(folder.path, 'ca.key')).mode & 0o777).toBe(0o600);
    expect(statSync(folder.path).mode & 0o777).toBe(0o700);
  });

  it('says what to do about a file that is no certificate, and overwrites nothing', async () => {
    const folder = new CertificateFolder(mkdtempSync(path.join(tmpdir(), 'muster-tls-')));
    writeFileSync(path.join(folder.path, 'ca.crt'), 'not a certificate');
    await expect(folder.issue([])).rejects.toThrow(/ca\.crt and ca\.key .* cannot be used.*move them away/);
  });
});
