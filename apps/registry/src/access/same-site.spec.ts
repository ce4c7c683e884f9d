import { describe, expect, it } from 'vitest';
import { crossSiteFault } from './same-site.ts';

describe('a request', () => {
  it.each([
    ['of a command line', { method: 'POST', host: '127.0.0.1:8300', origin: undefined }],
    ['of the own page', { method: 'POST', host: 'localhost:8300', origin: 'http://localhost:8300' }],
    ['of a page that only reads', { method: 'GET', host: '127.0.0.1:8300', origin: 'https://evil.example' }],
  ])('%s is served', (_, request) => {
    expect(crossSiteFault({ ...request, loopback: true })).toBeUndefined();
  });

  it.each([
    ['of another site', { method: 'POST', host: '127.0.0.1:8300', origin: 'https://evil.example' }],
    ['of another port', { method: 'PATCH', host: '127.0.0.1:8300', origin: 'http://127.0.0.1:9999' }],
    ['of a sandboxed page', { method: 'POST', host: '127.0.0.1:8300', origin: 'null' }],
    ['by a name that points here', { method: 'GET', host: 'evil.example:8300', origin: undefined }],
  ])('%s is refused', (_, request) => {
    expect(crossSiteFault({ ...request, loopback: true })).toBeDefined();
  });

  it('by any name is served where the server listens for others', () => {
    expect(
      crossSiteFault({ method: 'GET', host: 'muster.example', origin: undefined, loopback: false }),
    ).toBeUndefined();
  });
});
