import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Influx, retryAfterMs } from './influx.ts';

const servers: Server[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) server.close().closeAllConnections();
});

async function serverThat(answer: RequestListener): Promise<{ server: Server; influx: Influx }> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const target = { url, database: 'muster', username: 'muster', password: 'secret' };
  return { server, influx: new Influx(target, { timeoutMs: 200 }) };
}

describe('how long a server asks to be left alone', () => {
  const nowMs = Date.parse('2026-03-01T00:00:00Z');

  it.each([
    ['120', 120_000],
    [' 0 ', 0],
    ['Sun, 01 Mar 2026 00:01:00 GMT', 60_000],
    ['Sun, 01 Mar 2026 00:00:00 GMT', 0],
    ['Sat, 28 Feb 2026 00:00:00 GMT', 0],
    ['soon', undefined],
    ['', undefined],
    [undefined, undefined],
    [['7', '8'], 7_000],
  ])('in %j is %j ms', (header, expected) => {
    expect(retryAfterMs(header, nowMs)).toBe(expected);
  });
});

describe('a write', () => {
  it('to a server that hangs is unavailable after the time limit, and leaves no connection open', async () => {
    const { server, influx } = await serverThat(() => undefined);
    expect(await influx.write('a b=1')).toEqual({
      kind: 'unavailable',
      isTimeout: true,
      reason: 'InfluxDB did not answer within 200 ms',
    });
    const connections = (): Promise<number> =>
      new Promise((resolve, reject) =>
        server.getConnections((error, count) => (error === null ? resolve(count) : reject(error))),
      );
    await vi.waitFor(async () => expect(await connections()).toBe(0));
  });

  it('ends when it is aborted, before and while it is made', async () => {
    const { influx } = await serverThat(() => undefined);
    const startedAt = performance.now();
    expect(await influx.write('a b=1', AbortSignal.abort())).toMatchObject({ kind: 'unavailable' });
    expect(await influx.write('a b=1', AbortSignal.timeout(20))).toMatchObject({ kind: 'unavailable' });
    expect(performance.now() - startedAt).toBeLessThan(190);
  });

  it.each([
    [400, '{"error":"partial write: field type conflict: … dropped=3"}', { kind: 'refused', dropped: 3 }],
    [400, '{"error":"unable to parse \'a dropped=3\': invalid"}', { kind: 'refused', dropped: undefined }],
    [400, '{"error":"partial write: points beyond retention policy dropped=2"}', { kind: 'too-old', lines: 2 }],
    [422, '{"code":"unprocessable entity","message":"failure writing points"}', { kind: 'refused' }],
    [413, '<html>Request Entity Too Large', { kind: 'refused' }],
    [400, '<html>The plain HTTP request was sent to HTTPS port', { kind: 'unavailable', isMisconfigured: true }],
    [401, '{"error":"authorization failed"}', { kind: 'unavailable', isMisconfigured: true }],
    [404, '{"error":"database not found"}', { kind: 'unavailable', isMisconfigured: true }],
    [500, '{"error":"timeout"}', { kind: 'unavailable', isMisconfigured: false }],
  ])('that is answered with %i %s is %o', async (status, body, expected) => {
    const { influx } = await serverThat((_request, response) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(body),
    );
    expect(await influx.write('a b=1')).toMatchObject(expected);
  });
});
