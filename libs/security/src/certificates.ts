import 'reflect-metadata';
import { webcrypto, X509Certificate as NodeCertificate } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import path from 'node:path';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';

/** Certificates could not be made, or what lies there cannot be used. */
export class CertificateError extends Error {
  override readonly name = 'CertificateError';
  readonly code = 'certificate';
}

/** A certificate and its private key, both as PEM. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

/** A broker and the host names and addresses that its certificate is for. */
export interface CertificateName {
  readonly broker: string;
  readonly hosts: readonly string[];
}

/** What became of one file pair. */
export interface IssuedCertificate {
  readonly name: string;
  readonly state: 'made' | 'renewed' | 'kept';
  readonly hosts: readonly string[];
  readonly expiresAt: Date;
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;
const CA_DAYS = 3_650;
/** The longest that public clients take for a server (CA/Browser Forum baseline requirements, since 2020). */
const SERVER_DAYS = 397;
const RENEW_BEFORE_DAYS = 30;
/** Clocks differ, and a device may have just been given the time. */
const BACKDATED_MS = 3_600_000;

async function newKeys(): Promise<{ readonly keys: webcrypto.CryptoKeyPair; readonly pem: string }> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const pem = PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY');
  return { keys, pem: `${pem}\n` };
}

async function readKey(pem: string): Promise<webcrypto.CryptoKey> {
  const [der] = PemConverter.decode(pem);
  if (der === undefined) throw new CertificateError('a key file holds no PEM block');
  return webcrypto.subtle.importKey('pkcs8', der, ALGORITHM, true, ['sign']);
}

/** A new authority: ECDSA on P-256, ten years. */
export async function newAuthority(commonName: string, now = new Date()): Promise<KeyPair> {
  const { keys, pem } = await newKeys();
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: `CN=${commonName}`,
    notBefore: new Date(now.getTime() - BACKDATED_MS),
    notAfter: new Date(now.getTime() + CA_DAYS * DAY_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: `${certificate.toString('pem')}\n`, key: pem };
}

/** A server certificate of an authority, for all names and addresses by which clients call the server. */
export async function newServerCertificate(
  authority: KeyPair,
  { broker, hosts }: CertificateName,
  now = new Date(),
): Promise<KeyPair> {
  const issuer = new X509Certificate(authority.certificate);
  const { keys, pem } = await newKeys();
  const certificate = await X509CertificateGenerator.create({
    subject: `CN=${broker}`,
    issuer: issuer.subject,
    notBefore: new Date(now.getTime() - BACKDATED_MS),
    notAfter: new Date(Math.min(now.getTime() + SERVER_DAYS * DAY_MS, issuer.notAfter.getTime())),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: await readKey(authority.key),
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      new SubjectAlternativeNameExtension(
        hosts.map((value) => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value }) as const),
      ),
      await AuthorityKeyIdentifierExtension.create(issuer),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: `${certificate.toString('pem')}\n`, key: pem };
}

/** Why a certificate has to be made anew; undefined while it serves. */
export function renewalReason(
  pem: string,
  authority: string,
  hosts: readonly string[],
  now = new Date(),
): 'other-authority' | 'expires-soon' | 'other-names' | undefined {
  const certificate = new NodeCertificate(pem);
  if (!certificate.verify(new NodeCertificate(authority).publicKey)) return 'other-authority';
  if (Date.parse(certificate.validTo) - now.getTime() < RENEW_BEFORE_DAYS * DAY_MS) return 'expires-soon';
  const covers = (host: string): boolean =>
    (isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host)) !== undefined;
  return hosts.every(covers) ? undefined : 'other-names';
}

/** All names and addresses by which this machine may be called, from itself and from its networks. */
export function localHosts(): readonly string[] {
  const addresses = Object.values(networkInterfaces()).flatMap((entries) => entries ?? []);
  const reachable = addresses.filter(({ address, scopeid }) => isIP(address) !== 0 && (scopeid ?? 0) === 0);
  return [...new Set(['localhost', '127.0.0.1', '::1', hostname(), ...reachable.map(({ address }) => address)])];
}

/** A folder with an authority (`ca.crt`, `ca.key`) and a certificate for each broker (`NAME.crt`, `NAME.key`). */
export class CertificateFolder {
  constructor(readonly path: string) {}

  /**
   * Makes what is missing: the authority once, and a certificate for each broker; those that expire within 30 days or
   * lack a name are renewed, so it may be called at every start.
   * @throws CertificateError when a file that is there cannot be used
   */
  async issue(names: readonly CertificateName[], now = new Date()): Promise<readonly IssuedCertificate[]> {
    mkdirSync(this.path, { recursive: true, mode: 0o700 });
    chmodSync(this.path, 0o700);
    const hadAuthority = existsSync(this.#file('ca.crt'));
    if (!hadAuthority) this.#write('ca', await newAuthority('Muster', now));
    const authority = this.read('ca');
    const issued = [statement('ca', hadAuthority ? 'kept' : 'made', [], authority)];
    for (const name of names) {
      const isThere = existsSync(this.#file(`${name.broker}.crt`));
      const reason = isThere
        ? renewalReason(this.read(name.broker).certificate, authority.certificate, name.hosts, now)
        : 'missing';
      if (reason !== undefined) this.#write(name.broker, await newServerCertificate(authority, name, now));
      const state = reason === undefined ? 'kept' : isThere ? 'renewed' : 'made';
      issued.push(statement(name.broker, state, name.hosts, this.read(name.broker)));
    }
    return issued;
  }

  /**
   * A pair of the folder.
   * @throws CertificateError when it is not there or no certificate
   */
  read(name: string): KeyPair {
    try {
      const certificate = readFileSync(this.#file(`${name}.crt`), 'utf8');
      const key = readFileSync(this.#file(`${name}.key`), 'utf8');
      new NodeCertificate(certificate);
      return { certificate, key };
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new CertificateError(
        `${name}.crt and ${name}.key in ${this.path} cannot be used: ${why}; restore them, or move them away to have new ones made`,
        { cause: error },
      );
    }
  }

  #file(name: string): string {
    return path.join(this.path, name);
  }

  /** The certificate last: where it is, its key is too. */
  #write(name: string, pair: KeyPair): void {
    for (const [file, text, mode] of [
      [this.#file(`${name}.key`), pair.key, 0o600],
      [this.#file(`${name}.crt`), pair.certificate, 0o644],
    ] as const) {
      writeFileSync(`${file}.new`, text, { mode });
      renameSync(`${file}.new`, file);
    }
  }
}

function statement(
  name: string,
  state: IssuedCertificate['state'],
  hosts: readonly string[],
  { certificate }: KeyPair,
): IssuedCertificate {
  return { name, state, hosts, expiresAt: new Date(new NodeCertificate(certificate).validTo) };
}
