import { describe, expect, it } from 'vitest';
import { includesScope } from '@muster/service/rest';
import { tokenOf } from './access.guard.ts';

describe('the token of a request', () => {
  it.each([
    [{ authorization: 'Bearer abc' }, 'abc'],
    [{ authorization: 'bearer  abc' }, 'abc'],
    [{ cookie: 'other=1; muster_session=abc; x=y' }, 'abc'],
    // A header that says something else is meant, and the cookie is not.
    [{ authorization: 'Basic abc', cookie: 'muster_session=abc' }, undefined],
    [{ authorization: 'Bearer a b' }, undefined],
    [{ cookie: 'not_muster_session=abc' }, undefined],
    [{}, undefined],
  ])('%j is %s', (headers, token) => expect(tokenOf(headers)).toBe(token));
});

describe('a scope', () => {
  it.each([
    ['admin', 'viewer', true],
    ['admin', 'admin', true],
    ['operator', 'viewer', true],
    ['operator', 'admin', false],
    ['viewer', 'operator', false],
  ] as const)('%s includes %s: %s', (held, needed, expected) => expect(includesScope(held, needed)).toBe(expected));
});
