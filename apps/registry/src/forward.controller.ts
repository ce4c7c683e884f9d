import { All, Controller, Inject, Req, Res } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { LOGGER, ProblemError, type Logger } from '@muster/service';
import { forwardedHeaders, type SignedInRequest } from '@muster/service/rest';
import type { Response } from 'express';
import { z } from 'zod';

/** The first segments of paths below /api/v1, and the service that answers there. */
const SERVICE_OF = {
  rules: 'automation',
  timers: 'automation',
  mode: 'automation',
  'automation-runs': 'automation',
  alerts: 'alerting',
  'alert-rules': 'alerting',
  silences: 'alerting',
  'maintenance-windows': 'alerting',
  deliveries: 'alerting',
  receivers: 'alerting',
} as const;

/** The services behind the registry. */
export type BackendName = (typeof SERVICE_OF)[keyof typeof SERVICE_OF];
/** Where each of them is. */
export type Backends = Readonly<Record<BackendName, string>>;

const origin = z.url({ protocol: /^https?$/ });

/** Where the services behind the registry are. */
export const backendVariables = {
  MUSTER_AUTOMATION_URL: origin,
  MUSTER_ALERTING_URL: origin,
};

const ANSWER_LIMIT_MS = 30_000;
const ROUTES = Object.keys(SERVICE_OF).flatMap((segment) => [segment, `${segment}/*rest`]);

/** What the controller is made with; a class, so that Nest can inject it. */
export class ForwardTargets {
  constructor(
    readonly backends: Backends,
    readonly internalToken: string,
  ) {}
}

/** Hands requests on to the services that have these resources, in the name of whoever made them. */
@Controller('api/v1')
@ApiExcludeController()
export class ForwardController {
  constructor(
    @Inject(ForwardTargets) private readonly targets: ForwardTargets,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** The service itself says which scope an operation needs: it gets the one of the token. */
  @All(ROUTES)
  async forward(@Req() request: SignedInRequest, @Res() response: Response): Promise<void> {
    const { session } = request;
    if (session === undefined) throw new ProblemError(401, 'a token is needed');
    // What the router matched, and nothing that a path can be spelled as: no dots, no second slash, no other host.
    const segments = request.path.split('/').slice(3).map(decodedSegment);
    const service = backendOf(segments[0] ?? '');
    const target = new URL(
      `/api/v1/${segments.map((segment) => encodeURIComponent(segment)).join('/')}`,
      this.targets.backends[service],
    );
    target.search = new URL(request.originalUrl, target).search;
    const hasBody = request.body !== undefined && !['GET', 'HEAD'].includes(request.method);
    let answer: globalThis.Response;
    let body: Buffer;
    try {
      answer = await fetch(target, {
        method: request.method,
        redirect: 'manual',
        headers: {
          ...forwardedHeaders(this.targets.internalToken, session),
          ...(hasBody ? { 'content-type': 'application/json' } : {}),
        },
        ...(hasBody ? { body: JSON.stringify(request.body) } : {}),
        signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
      });
      body = Buffer.from(await answer.arrayBuffer());
    } catch (error) {
      this.logger.warn({ err: error, service }, 'a service behind the registry does not answer');
      throw new ProblemError(503, `${service} is away: it does not answer; devices and presence are not affected`);
    }
    if (answer.status === 401) throw new ProblemError(503, `${service} does not take the registry's internal token`);
    response.status(answer.status);
    const type = answer.headers.get('content-type');
    if (type !== null) response.setHeader('content-type', type);
    response.end(body);
  }
}

function backendOf(segment: string): BackendName {
  const service = Object.entries(SERVICE_OF).find(([name]) => name === segment.toLowerCase())?.[1];
  if (service === undefined) throw new ProblemError(404, 'there is no such resource');
  return service;
}

function decodedSegment(segment: string): string {
  let decoded: string;
  try {
    decoded = decodeURIComponent(segment);
  } catch {
    throw new ProblemError(404, 'there is no such resource');
  }
  if (decoded === '.' || decoded === '..' || decoded.includes('/'))
    throw new ProblemError(404, 'there is no such resource');
  return decoded;
}
