import { STATUS_CODES } from 'node:http';
import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import { ContractError, type Problem } from '@muster/contract';
import type { Request, Response } from 'express';
import { throwError, type Observable } from 'rxjs';
import type { Logger } from './logger.ts';
import { YamlError } from './yaml-source.ts';

/** A request that cannot be served, with what to tell the caller. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError';

  constructor(
    readonly status: number,
    readonly detail: string,
    readonly errors?: Problem['errors'],
  ) {
    super(detail);
  }
}

/** The answer to an error (RFC 9457); undefined for errors that are ours and not the caller's. */
export function problemOf(error: unknown): Problem | undefined {
  const problem = (status: number, detail: string, errors?: Problem['errors']): Problem => ({
    type: 'about:blank',
    title: STATUS_CODES[status] ?? 'Error',
    status,
    detail,
    ...(errors === undefined ? {} : { errors }),
  });
  if (error instanceof ProblemError) return problem(error.status, error.detail, error.errors);
  if (error instanceof ContractError) return problem(422, error.message);
  if (error instanceof YamlError) {
    const found = error.faults.length === 1 ? 'a fault' : `${error.faults.length} faults`;
    return problem(422, `${found} in the YAML text; nothing was changed`, [...error.faults]);
  }
  if (error instanceof HttpException) return problem(error.getStatus(), error.message);
  // body-parser's errors carry the status that they stand for and say whether their text may be shown.
  if (
    error instanceof Error &&
    'status' in error &&
    typeof error.status === 'number' &&
    'expose' in error &&
    error.expose === true
  ) {
    return problem(error.status, error.message);
  }
  return undefined;
}

/** Answers every error as application/problem+json; an error of ours is logged and told to nobody else. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  constructor(private readonly logger: Logger) {}

  catch(error: unknown, host: ArgumentsHost): Observable<never> | undefined {
    // A message of a device: the transport decides, and logs.
    if (host.getType() !== 'http') return throwError(() => error);
    const response = host.switchToHttp().getResponse<Response>();
    const request = host.switchToHttp().getRequest<Request>();
    let problem = problemOf(error);
    if (problem === undefined) {
      this.logger.error({ err: error, method: request.method, path: request.path }, 'request failed');
      problem = {
        type: 'about:blank',
        title: 'Internal Server Error',
        status: 500,
        detail: 'see the log of the service',
      };
    }
    if (response.headersSent) {
      response.end();
      return undefined;
    }
    response
      .status(problem.status)
      .type('application/problem+json')
      .send({ ...problem, instance: request.originalUrl });
    return undefined;
  }
}
