import { describe, expect, it } from 'vitest';
import { certificateForTests } from './certificate-for-tests.ts';
import { keyFits, readCertificate } from './certificate.ts';

const { key: otherKey } = await certificateForTests();
const NOW = new Date('2026-01-15T00:00:00Z');

describe('a certificate file', () => {
  it('tells its validity and the kind of its key', async () => {
    const { certificate } = await certificateForTests({ now: NOW, fromDays: -5, toDays: 90 });
    expect(readCertificate(certificate)).toEqual({
      kind: 'certificate',
      facts: {
        validFrom: new Date('2026-01-10T00:00:00Z'),
        validTo: new Date('2026-04-15T00:00:00Z'),
        keyType: 'ec',
        rsaBits: undefined,
      },
    });
  });

  it('tells the bits of an RSA key', async () => {
    const { certificate } = await certificateForTests({ kind: 'rsa', bits: 1_024 });
    expect(readCertificate(certificate)).toMatchObject({ facts: { keyType: 'rsa', rsaBits: 1_024 } });
  });

  it.each(['', 'hello', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n', otherKey])(
    'holds none where there is none to read',
    (text) => expect(readCertificate(text)).toEqual({ kind: 'none' }),
  );

  it('fits its own key and no other', async () => {
    const { certificate, key } = await certificateForTests();
    expect(keyFits(certificate, key)).toBe(true);
    expect(keyFits(certificate, (await certificateForTests()).key)).toBe(false);
    expect(keyFits(certificate, 'no key')).toBeUndefined();
  });
});
