import { mkdtempSync, readFileSync } from 'node:fs';
import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CertificateFolder } from '@muster/security';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ApiError, callApi } from './api-client.ts';

const open: Server[] = [];

async function listen(server: Server): Promise<number> {
  open.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

async function serve(listener: RequestListener): Promise<string> {
  return `http://127.0.0.1:${await listen(createHttpServer(listener))}`;
}

const schema = z.object({ ok: z.literal(true) });

async function errorOf(work: Promise<unknown>): Promise<ApiError> {
  const error: unknown = await work.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  expect(error).toBeInstanceOf(ApiError);
  return error as ApiError;
}

describe('a call of the API', () => {
  afterEach(() => {
    for (const server of open.splice(0)) {
      server.closeAllConnections();
      server.close();
    }
  });

  it('has the token, and gives back what the schema has', async () => {
    const url = await serve((request, response) => {
      response.end(JSON.stringify({ ok: request.headers.authorization === 'Bearer secret' }));
    });
    expect(await callApi({ url, token: 'secret' }, 'GET', '/x', schema)).toEqual({ ok: true });
    expect((await errorOf(callApi({ url, token: undefined }, 'GET', '/x', schema))).message).toMatch(/another version/);
  });

  it.each([
    [
      401,
      '{"type":"about:blank","title":"T","status":401,"detail":"no token"}',
      /^401: no token \(MUSTER_TOKEN, a profile/,
    ],
    [404, '{"type":"about:blank","title":"no such thing","status":404}', /^404: no such thing$/],
    [502, '<html>', /^502 Bad Gateway$/],
    [200, '<html>', /answered something else/],
  ])('that is answered with %i and %s says so', async (status, body, message) => {
    const url = await serve((_, response) => response.writeHead(status).end(body));
    const error = await errorOf(callApi({ url, token: undefined }, 'GET', '/x', schema));
    expect([error.status, error.message]).toEqual([status, expect.stringMatching(message)]);
  });

  it('waits as long as it is told, for the answer and for all of it', async () => {
    const never = await serve(() => undefined);
    const half = await serve((_, response) => response.writeHead(200).write('{"ok":'));
    for (const url of [never, half]) {
      const error = await errorOf(callApi({ url, token: undefined, timeoutMs: 200 }, 'GET', '/x', schema));
      expect([error.status, error.message]).toEqual([undefined, expect.stringMatching(/within 0\.2 s; --timeout/)]);
    }
  });

  it('that nobody answers says where, why, and what to do', async () => {
    const url = await serve(() => undefined);
    open.splice(0).forEach((server) => server.close());
    const error = await errorOf(callApi({ url, token: undefined }, 'GET', '/x', schema));
    expect(error.message).toMatch(
      /^no API at http:\/\/127\.0\.0\.1:\d+ \(.*ECONNREFUSED.*\); start one with "npm start"/,
    );
  });

  it('goes to a server that the given authority vouches for, and to no other', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'muster-api-'));
    const certificates = new CertificateFolder(folder);
    await certificates.issue([{ broker: 'api', hosts: ['127.0.0.1'] }]);
    const { certificate: cert, key } = certificates.read('api');
    const port = await listen(createHttpsServer({ cert, key }, (_, response) => response.end('{"ok":true}')));
    const url = `https://127.0.0.1:${port}`;
    const ca = readFileSync(path.join(folder, 'ca.crt'), 'utf8');
    expect(await callApi({ url, token: undefined, ca }, 'GET', '/x', schema)).toEqual({ ok: true });
    expect((await errorOf(callApi({ url, token: undefined }, 'GET', '/x', schema))).message).toMatch(/certificate/);
  });
});
