import type { NextFunction, Request, Response } from 'express';

const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);
const LOOPBACK_HOSTS = new Set(['localhost', '127.0.0.1', '[::1]']);

/** What decides whether a request may come from a page. */
export interface RequestOrigin {
  readonly method: string;
  readonly host: string | undefined;
  readonly origin: string | undefined;
  /** The server listens on the loopback interface alone. */
  readonly loopback: boolean;
}

/**
 * Why a request must not be served, or undefined. A page of another site could otherwise make the operator's browser
 * decommission devices, directly or by a name that it lets resolve to this machine.
 */
export function crossSiteFault({ method, host, origin, loopback }: RequestOrigin): string | undefined {
  const hostname = host?.replace(/:\d+$/, '');
  if (loopback && (hostname === undefined || !LOOPBACK_HOSTS.has(hostname))) {
    return `the host ${JSON.stringify(host)} is not this machine; use http://127.0.0.1`;
  }
  if (SAFE_METHODS.has(method) || origin === undefined) return undefined;
  const originHost = URL.canParse(origin) ? new URL(origin).host : undefined;
  return originHost === host ? undefined : 'a page of another site may not change anything here';
}

/** Refuses requests that another site makes through a browser, with 403. */
export function refuseCrossSite(
  listenHost: string,
): (request: Request, response: Response, next: NextFunction) => void {
  const loopback = LOOPBACK_HOSTS.has(listenHost) || listenHost === '::1';
  return (request, response, next) => {
    const { host, origin } = request.headers;
    const detail = crossSiteFault({ method: request.method, host, origin, loopback });
    if (detail === undefined) next();
    else
      response
        .status(403)
        .type('application/problem+json')
        .send({ type: 'about:blank', title: 'Forbidden', status: 403, detail });
  };
}
