import { generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import type { ServerCertificate } from './mended-configuration.ts';

const DAY_MS = 86_400_000;

/** One element of DER: tag, length, contents (X.690). */
function der(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(contents);
  const size = body.length.toString(16);
  const long = Buffer.from(size.padStart(size.length + (size.length % 2), '0'), 'hex');
  const length =
    body.length < 0x80 ? Buffer.from([body.length]) : Buffer.concat([Buffer.from([0x80 + long.length]), long]);
  return Buffer.concat([Buffer.from([tag]), length, body]);
}

const sequence = (...contents: readonly Uint8Array[]): Buffer => der(0x30, ...contents);
const identifier = (hex: string): Buffer => der(0x06, Buffer.from(hex, 'hex'));
const time = (date: Date): Buffer =>
  der(0x18, Buffer.from(`${date.toISOString().replace(/\D/g, '').slice(0, 14)}Z`, 'latin1'));

const ALGORITHMS = {
  ec: sequence(identifier('2a8648ce3d040302')),
  rsa: sequence(identifier('2a864886f70d01010b'), der(0x05)),
};

function keys(kind: 'ec' | 'rsa', bits: number): { readonly publicKey: KeyObject; readonly privateKey: KeyObject } {
  return kind === 'ec'
    ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
    : generateKeyPairSync('rsa', { modulusLength: bits });
}

/** A certificate for localhost and 127.0.0.1 that is its own authority (RFC 5280), for the tests of this folder. */
export function certificateForTests(
  options: {
    readonly kind?: 'ec' | 'rsa';
    readonly bits?: number;
    readonly fromDays?: number;
    readonly toDays?: number;
    readonly now?: Date;
  } = {},
): ServerCertificate {
  const { kind = 'ec', bits = 2_048, fromDays = -1, toDays = 365, now = new Date() } = options;
  const { publicKey, privateKey } = keys(kind, bits);
  const at = (days: number): Date => new Date(now.getTime() + days * DAY_MS);
  const name = sequence(der(0x31, sequence(identifier('550403'), der(0x0c, Buffer.from('localhost')))));
  const names = sequence(der(0x82, Buffer.from('localhost')), der(0x87, Buffer.from([127, 0, 0, 1])));
  const authority = sequence(der(0x01, Buffer.from([0xff])));
  const extensions = sequence(
    sequence(identifier('551d11'), der(0x04, names)),
    sequence(identifier('551d13'), der(0x01, Buffer.from([0xff])), der(0x04, authority)),
  );
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    ALGORITHMS[kind],
    name,
    sequence(time(at(fromDays)), time(at(toDays))),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, extensions),
  );
  const signature = der(0x03, Buffer.from([0]), sign('sha256', body, privateKey));
  const base64 = sequence(body, ALGORITHMS[kind], signature).toString('base64').replace(/.{64}/g, '$&\n');
  const certificate = `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`;
  return { ca: certificate, certificate, key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
}
