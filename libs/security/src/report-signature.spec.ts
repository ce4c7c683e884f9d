import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkSignature, ReportSigner, SigningKeyError } from './report-signature.ts';

const signer = new ReportSigner('a secret of at least 32 characters');
const report = { device: 'a', state: 'verified', before: [{ topic: 'ü/€', bytes: 3 }], signature: null };

describe('a signed report', () => {
  it('is valid, in whatever order its properties stand', () => {
    const signed = signer.sign(report);
    expect(checkSignature(signed, signer.publicKey)).toBe('valid');
    const { device, ...rest } = JSON.parse(JSON.stringify(signed)) as typeof signed;
    expect(checkSignature(Object.assign(rest, { device }), signer.publicKey)).toBe('valid');
  });

  it('is the same each time: Ed25519 has no chance in it', () => {
    expect(signer.sign(report)).toEqual(signer.sign(signer.sign(report)));
  });

  it('is forged when anything in it is another', () => {
    const signed = signer.sign(report);
    fc.assert(
      fc.property(fc.jsonValue(), (device) => {
        fc.pre(device !== 'a');
        expect(checkSignature(Object.assign({ ...signed }, { device }), signer.publicKey)).toBe('forged');
      }),
    );
    expect(checkSignature(Object.assign({ ...signed }, { more: 1 }), signer.publicKey)).toBe('forged');
    expect(checkSignature({ ...signed, signature: { ...signed.signature, value: 'AAAA' } }, signer.publicKey)).toBe(
      'forged',
    );
  });

  it('of another key, or without a signature, is said to be so', () => {
    const other = new ReportSigner('another secret, also long enough');
    expect(checkSignature(signer.sign(report), other.publicKey)).toBe('other-key');
    expect(checkSignature(report, signer.publicKey)).toBe('unsigned');
  });
});

describe('a signing key', () => {
  it('is the same of the same secret, and another of another', () => {
    expect(new ReportSigner('a secret of at least 32 characters').keyId).toBe(signer.keyId);
    expect(new ReportSigner('another secret, also long enough').keyId).not.toBe(signer.keyId);
    expect(signer.keyId).toMatch(/^[0-9a-f]{16}$/);
  });

  it('may be an Ed25519 key of one’s own', () => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519', {
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    });
    const own = new ReportSigner(privateKey);
    expect(own.publicKey).toBe(publicKey);
    expect(checkSignature(own.sign(report), publicKey)).toBe('valid');
  });

  it('of another kind, or none, is refused with what to do', () => {
    const { privateKey, publicKey } = generateKeyPairSync('x25519', {
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    });
    expect(() => new ReportSigner(privateKey)).toThrow(/x25519 and not Ed25519.*openssl genpkey/);
    expect(() => new ReportSigner('-----BEGIN nothing')).toThrow(SigningKeyError);
    expect(() => checkSignature(report, publicKey)).toThrow(/x25519/);
    expect(() => checkSignature(report, 'nothing')).toThrow(SigningKeyError);
  });
});
