import { createHash, createPrivateKey, createPublicKey, hkdfSync, sign, verify, type KeyObject } from 'node:crypto';
import { canonicalJson } from './canonical-json.ts';

/** The DER of an Ed25519 private key (PKCS #8, RFC 8410) up to its 32 bytes. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const KEY_PURPOSE = 'muster decommission reports';
const KEY_ID_DIGITS = 16;

/** A key could not be used; the message says why. */
export class SigningKeyError extends Error {
  override readonly name = 'SigningKeyError';
  readonly code = 'signing-key';
}

/** A signature of a report, beside its content. */
export interface Signature {
  readonly algorithm: 'Ed25519';
  readonly keyId: string;
  /** Base64. */
  readonly value: string;
}

/** What is signed: the canonical JSON of a report without its signature. */
function signedBytes(report: object): Buffer {
  const { signature: _, ...content } = report as { readonly signature?: unknown };
  return Buffer.from(canonicalJson(content), 'utf8');
}

function keyIdOf(key: KeyObject): string {
  const der = key.export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(der).digest('hex').slice(0, KEY_ID_DIGITS);
}

function derivedKey(secret: string): KeyObject {
  const seed = Buffer.from(hkdfSync('sha256', secret, '', KEY_PURPOSE, 32));
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: 'der', type: 'pkcs8' });
}

function ownKey(pem: string): KeyObject {
  const hint = '"openssl genpkey -algorithm ed25519" makes one';
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (error) {
    throw new SigningKeyError(`the signing key is no private key in PEM; ${hint}`, { cause: error });
  }
  if (key.asymmetricKeyType === 'ed25519') return key;
  throw new SigningKeyError(`the signing key is ${key.asymmetricKeyType ?? 'unknown'} and not Ed25519; ${hint}`);
}

/** Signs reports with Ed25519 (RFC 8032). */
export class ReportSigner {
  readonly #privateKey: KeyObject;
  /** SPKI, as PEM. */
  readonly publicKey: string;
  /** The first 16 digits of the SHA-256 of the public key (DER), hexadecimal. */
  readonly keyId: string;

  /**
   * With an Ed25519 private key (PKCS #8, PEM), or with any other secret, of which a key is derived (HKDF, RFC 5869): so
   * it can be made as other secrets are.
   * @throws SigningKeyError
   */
  constructor(secret: string) {
    this.#privateKey = secret.includes('-----BEGIN') ? ownKey(secret) : derivedKey(secret);
    const publicKey = createPublicKey(this.#privateKey);
    this.publicKey = publicKey.export({ type: 'spki', format: 'pem' }).toString();
    this.keyId = keyIdOf(publicKey);
  }

  /** A report with its signature in place of the one it has. */
  sign<Report extends object>(report: Report): Omit<Report, 'signature'> & { readonly signature: Signature } {
    const value = sign(null, signedBytes(report), this.#privateKey).toString('base64');
    return { ...report, signature: { algorithm: 'Ed25519', keyId: this.keyId, value } };
  }
}

/** Whether a report is what was signed. */
export type SignatureVerdict = 'valid' | 'unsigned' | 'other-key' | 'forged';

/**
 * Checks a report against a public key (SPKI, PEM). `other-key`: it was signed with another one; `forged`: it is not what
 * was signed.
 * @throws SigningKeyError when the key is none
 */
export function checkSignature(
  report: object & { readonly signature?: Signature | null },
  publicKeyPem: string,
): SignatureVerdict {
  let key: KeyObject;
  try {
    key = createPublicKey(publicKeyPem);
  } catch (error) {
    throw new SigningKeyError('the public key is no PEM; GET /api/v1/signing-key has it as publicKey', {
      cause: error,
    });
  }
  if (key.asymmetricKeyType !== 'ed25519')
    throw new SigningKeyError(`the public key is ${key.asymmetricKeyType ?? 'unknown'} and not Ed25519`);
  const { signature } = report;
  if (signature === undefined || signature === null) return 'unsigned';
  if (signature.keyId !== keyIdOf(key)) return 'other-key';
  return verify(null, signedBytes(report), key, Buffer.from(signature.value, 'base64')) ? 'valid' : 'forged';
}
