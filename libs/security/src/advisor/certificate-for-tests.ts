import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import {
  BasicConstraintsExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import type { ServerCertificate } from './mended-configuration.ts';

const DAY_MS = 86_400_000;
const ECDSA = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** A certificate for localhost and 127.0.0.1 that is its own authority, also a weak or an expired one, for tests. */
export async function certificateForTests(
  options: {
    readonly kind?: 'ec' | 'rsa';
    readonly bits?: number;
    readonly fromDays?: number;
    readonly toDays?: number;
    readonly now?: Date;
  } = {},
): Promise<ServerCertificate> {
  const { kind = 'ec', bits = 2_048, fromDays = -1, toDays = 365, now = new Date() } = options;
  const rsa = {
    name: 'RSASSA-PKCS1-v1_5',
    hash: 'SHA-256',
    modulusLength: bits,
    publicExponent: new Uint8Array([1, 0, 1]),
  };
  const algorithm = kind === 'ec' ? ECDSA : rsa;
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=localhost',
    notBefore: new Date(now.getTime() + fromDays * DAY_MS),
    notAfter: new Date(now.getTime() + toDays * DAY_MS),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, undefined, true),
      new SubjectAlternativeNameExtension([
        { type: 'dns', value: 'localhost' },
        { type: 'ip', value: '127.0.0.1' },
      ]),
    ],
  });
  const pem = `${certificate.toString('pem')}\n`;
  const key = PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY');
  return { ca: pem, certificate: pem, key: `${key}\n` };
}
