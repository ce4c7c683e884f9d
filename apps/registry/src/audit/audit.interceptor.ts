import type { IncomingMessage, ServerResponse } from 'node:http';
import { Inject, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import type { AuditEntry, SignedIn } from '@muster/contract';
import { problemOf, ProblemError, type Logger } from '@muster/service';
import type { SignedInRequest } from '@muster/service/rest';
import type { Response } from 'express';
import { catchError, concatMap, defer, mergeMap, type Observable } from 'rxjs';
import { requestDetail, type OperationNames } from './audit-detail.ts';
import { notesOf } from './audit-notes.ts';
import type { Audit } from './audit.ts';

const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);
/** How long a change waits for its entry. */
const APPEND_LIMIT_MS = 5_000;
/** Refusals of one actor, or of all that nobody signed, that are recorded one by one within a minute. */
const MAX_REFUSALS = 60;
const MINUTE_MS = 60_000;

type AuditedRequest = IncomingMessage & { session?: SignedIn; originalUrl?: string; ip?: string };

/**
 * Which requests are recorded, and how: all that may change something. What was refused before it came to an operation
 * (no token, no right, no JSON) is recorded too; a flood of those is counted, so that nobody can fill the log.
 */
export class AuditTrail {
  /** Requests whose entries are the interceptor's. */
  readonly #taken = new WeakSet<IncomingMessage>();
  /** By actor, in this minute. */
  readonly #refusals = new Map<string | null, number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly audit: Audit,
    private readonly names: OperationNames,
    private readonly logger: Logger,
  ) {}

  /**
   * Records that a request is about to be carried out.
   * @throws ProblemError 503 when that cannot be written: then nothing may be changed
   */
  async begin(request: SignedInRequest, session: SignedIn): Promise<AuditEntry> {
    this.#taken.add(request);
    const { query, ip: from } = request;
    const body: unknown = request.body;
    const appended = this.audit.append({
      ...{ actor: session.name, scope: session.scope, ...this.names.of(request.method, request.path) },
      ...{ outcome: 'begun', status: null, begun: null },
      detail: requestDetail({ body, query, from }),
    });
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<undefined>((resolve) => (timer = setTimeout(() => resolve(undefined), APPEND_LIMIT_MS)));
    try {
      const entry = await Promise.race([appended, limit]);
      if (entry !== undefined) return entry;
    } catch (error) {
      this.logger.error({ err: error, path: request.path }, 'a change was refused: the audit log cannot be written');
      throw unavailable();
    } finally {
      clearTimeout(timer);
    }
    // Should it be written after all, it is on record too that nothing was done.
    appended
      .then((late) => this.audit.conclude(late, 503))
      .catch((error: unknown) =>
        this.logger.error({ err: error, path: request.path }, 'a refused change is not on record'),
      );
    throw unavailable();
  }

  /** Records how it ended, with what its operation noted. */
  async conclude(begun: AuditEntry, status: number, request: SignedInRequest): Promise<void> {
    await this.audit.conclude(begun, status, notesOf(request));
  }

  /** Watches a request from its very beginning, for what never comes to an operation. */
  watch(request: AuditedRequest, response: ServerResponse): void {
    const method = request.method ?? '';
    const [path = ''] = (request.url ?? '').split('?');
    if (SAFE_METHODS.has(method) || !path.toLowerCase().startsWith('/api/')) return;
    response.once('finish', () => {
      if (!this.#taken.has(request)) this.#record(request, method, path, response.statusCode);
    });
  }

  /** Forgets what is only counted so far, after writing it down. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#countRefusals();
  }

  #record({ session, ip, socket }: AuditedRequest, method: string, path: string, status: number): void {
    const actor = session?.name ?? null;
    const count = (this.#refusals.get(actor) ?? 0) + 1;
    this.#refusals.set(actor, count);
    this.#timer ??= setTimeout(() => void this.#countRefusals(), MINUTE_MS).unref();
    if (count > MAX_REFUSALS) return;
    const from = ip ?? socket.remoteAddress;
    this.audit
      .append({
        ...{ actor, scope: session?.scope ?? null, ...this.names.of(method, path) },
        ...{ outcome: status < 400 ? 'done' : status < 500 ? 'refused' : 'failed', status, begun: null },
        detail: requestDetail({ body: undefined, query: undefined, from }),
      })
      .catch((error: unknown) => this.logger.warn({ err: error, path, status }, 'a refused request is not on record'));
  }

  async #countRefusals(): Promise<void> {
    const more = [...this.#refusals].filter(([, count]) => count > MAX_REFUSALS);
    this.#refusals.clear();
    this.#timer = undefined;
    for (const [actor, count] of more) {
      const entry = { actor, scope: null, subject: null, outcome: 'refused', status: null, begun: null } as const;
      const detail = { requests: count - MAX_REFUSALS };
      await this.audit
        .append({ ...entry, action: 'more requests within a minute than are recorded one by one', detail })
        .catch((error: unknown) =>
          this.logger.warn({ err: error, actor, ...detail }, 'refused requests are not on record'),
        );
    }
  }
}

function unavailable(): ProblemError {
  return new ProblemError(
    503,
    'the audit log cannot be written, so nothing was changed; look whether PostgreSQL answers, and try again',
  );
}

/** Carries nothing out that is not in the audit log before, and records how it ended. */
export class AuditInterceptor implements NestInterceptor {
  constructor(@Inject(AuditTrail) private readonly trail: AuditTrail) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    if (context.getType() !== 'http') return next.handle();
    const request = context.switchToHttp().getRequest<SignedInRequest>();
    const { session } = request;
    // Operations without a token change nothing but a cookie: they are recorded when they are over.
    if (SAFE_METHODS.has(request.method) || session === undefined) return next.handle();
    const response = context.switchToHttp().getResponse<Response>();
    return defer(() => this.trail.begin(request, session)).pipe(
      mergeMap((begun) =>
        next.handle().pipe(
          concatMap(async (answer: unknown) => {
            await this.trail.conclude(begun, response.statusCode, request);
            return answer;
          }),
          catchError(async (error: unknown) => {
            await this.trail.conclude(begun, problemOf(error)?.status ?? 500, request);
            throw error;
          }),
        ),
      ),
    );
  }
}
