import { createHash, timingSafeEqual } from 'node:crypto';
import { SetMetadata, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { scopeSchema, type Scope, type SignedIn } from '@muster/contract';
import type { Request } from 'express';
import { z } from 'zod';
import { HealthController } from '../health.ts';
import { ProblemError } from '../problem-filter.ts';

const ACCESS = 'muster:access';

/** What an operation needs: a scope, or nothing. */
export type Access = Scope | 'public';

/** A request with who makes it. */
export type SignedInRequest = Request & { session?: SignedIn };

/**
 * Who makes a request, for records of who did what.
 * @throws ProblemError 401
 */
export function actorOf({ session }: SignedInRequest): string {
  if (session === undefined) throw new ProblemError(401, 'a token is needed');
  return session.name;
}

/** What a token must allow for an operation; operations that say nothing are for viewers. */
export function RequireScope(scope: Scope): MethodDecorator & ClassDecorator {
  return SetMetadata(ACCESS, scope);
}

/** An operation that needs no token: the one that checks one. */
export function NeedsNoToken(): MethodDecorator {
  return SetMetadata(ACCESS, 'public' satisfies Access);
}

const reflector = new Reflector();

/** What the operation of a request needs. */
export function neededAccess(context: ExecutionContext): Access {
  // Health and metrics, which probes ask without an account. By controller: a path can be spelled in other ways.
  if (context.getClass() === HealthController) return 'public';
  return (
    reflector.getAllAndOverride<Access | undefined>(ACCESS, [context.getHandler(), context.getClass()]) ?? 'viewer'
  );
}

/** Whether a scope includes another: admin includes operator, and operator includes viewer. */
export function includesScope(held: Scope, needed: Scope): boolean {
  return scopeSchema.options.indexOf(held) >= scopeSchema.options.indexOf(needed);
}

/** @throws ProblemError 403 where a session does not allow what is needed */
export function requireScope({ name, scope }: SignedIn, needed: Scope): void {
  if (!includesScope(scope, needed))
    throw new ProblemError(403, `the token ${JSON.stringify(name)} is for a ${scope}; this needs ${needed}`);
}

/** What services behind the registry are told, and the registry too: who has it may speak for any user. */
export const internalVariables = {
  MUSTER_INTERNAL_TOKEN: z.string().min(16, 'expected at least 16 characters').meta({ secret: true }),
};

const ACTOR_HEADER = 'x-muster-actor';
const SCOPE_HEADER = 'x-muster-scope';

/** The headers with which the registry hands a request on, in the name of whoever made it. */
export function forwardedHeaders(internalToken: string, { name, scope }: SignedIn): Readonly<Record<string, string>> {
  return {
    authorization: `Bearer ${internalToken}`,
    [ACTOR_HEADER]: encodeURIComponent(name),
    [SCOPE_HEADER]: scope,
  };
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/** Lets requests in that the registry hands on, with what their token allows; nobody else. */
export class ForwardedGuard implements CanActivate {
  readonly #authorization: Buffer;

  constructor(internalToken: string) {
    this.#authorization = digestOf(`Bearer ${internalToken}`);
  }

  /** @throws ProblemError 401, 403 */
  canActivate(context: ExecutionContext): boolean {
    if (context.getType() !== 'http') return true;
    const needed = neededAccess(context);
    if (needed === 'public') return true;
    const request = context.switchToHttp().getRequest<SignedInRequest>();
    const scope = scopeSchema.safeParse(request.headers[SCOPE_HEADER]);
    const actor = request.headers[ACTOR_HEADER];
    const isRegistry = timingSafeEqual(digestOf(request.headers.authorization ?? ''), this.#authorization);
    if (!isRegistry || !scope.success || typeof actor !== 'string')
      throw new ProblemError(401, 'this service answers the registry alone; ask there, with a token');
    const session = { name: decodeURIComponent(actor), scope: scope.data };
    requireScope(session, needed);
    request.session = session;
    return true;
  }
}
