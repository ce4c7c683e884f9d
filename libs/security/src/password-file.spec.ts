import { describe, expect, it } from 'vitest';
import { isPasswordOf, passwordHash, randomPassword, renderPasswordFile } from './password-file.ts';

describe('a password', () => {
  it('is known by its hash, and no other is', () => {
    const password = randomPassword();
    const hash = passwordHash(password);
    expect(isPasswordOf(hash, password)).toBe(true);
    expect(isPasswordOf(hash, `${password}x`)).toBe(false);
    expect(hash).not.toContain(password);
  });

  it('has 192 random bits and another hash each time', () => {
    expect(Buffer.from(randomPassword(), 'base64url')).toHaveLength(24);
    expect(passwordHash('same')).not.toBe(passwordHash('same'));
  });

  it.each(['', 'x', '$7$', '$7$1$', '$6$c2FsdA==$aGFzaA==', '$7$101$c2FsdA==$aGFzaA==', '$7$1$c2FsdA==$aGFzaA=='])(
    'is not what %j was made of',
    (hash) => expect(isPasswordOf(hash, '')).toBe(false),
  );

  it('stands behind its name, one a line', () => {
    expect(renderPasswordFile([{ username: 'a', passwordHash: '$7$1$s$k' }])).toBe('a:$7$1$s$k\n');
    expect(renderPasswordFile([])).toBe('');
  });
});
