import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';

/** What is to be known of a certificate; nothing of it is secret. */
export interface CertificateFacts {
  readonly validFrom: Date;
  readonly validTo: Date;
  readonly keyType: string;
  /** Bits of the modulus of an RSA key; undefined for other kinds. */
  readonly rsaBits: number | undefined;
}

/** What a PEM file holds: its first certificate, or that it holds none. */
export type CertificateFile =
  { readonly kind: 'certificate'; readonly facts: CertificateFacts } | { readonly kind: 'none' };

/** Reads the first certificate of a PEM text. */
export function readCertificate(pem: string): CertificateFile {
  const certificate = parsed(() => new X509Certificate(pem));
  const key = parsed(() => certificate?.publicKey);
  if (certificate === undefined || key === undefined) return { kind: 'none' };
  return {
    kind: 'certificate',
    facts: {
      validFrom: new Date(certificate.validFrom),
      validTo: new Date(certificate.validTo),
      keyType: key.asymmetricKeyType ?? 'unknown',
      rsaBits: key.asymmetricKeyDetails?.modulusLength,
    },
  };
}

/** Whether a private key belongs to a certificate; undefined where one of them cannot be read (an encrypted key, too). */
export function keyFits(certificatePem: string, keyPem: string): boolean | undefined {
  const certificate = parsed(() => new X509Certificate(certificatePem));
  const key = parsed((): KeyObject => createPrivateKey(keyPem));
  return certificate === undefined || key === undefined ? undefined : certificate.checkPrivateKey(key);
}

function parsed<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    // OpenSSL's message may quote the text, which may be a key; that it is unreadable is all that matters.
    return undefined;
  }
}
