import { Inject, SetMetadata, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { scopeSchema, type Scope, type SignedIn } from '@muster/contract';
import { HealthController, ProblemError } from '@muster/service';
import type { Request } from 'express';
import { Tokens } from './tokens.ts';

const ACCESS = 'muster:access';

/** What a token must allow for an operation; operations that say nothing are for viewers. */
export function RequireScope(scope: Scope): MethodDecorator & ClassDecorator {
  return SetMetadata(ACCESS, scope);
}

/** An operation that needs no token: the one that checks one. */
export function NeedsNoToken(): MethodDecorator {
  return SetMetadata(ACCESS, 'public');
}

/** The cookie of a signed-in browser. */
export const SESSION_COOKIE = 'muster_session';

/** The token of a request: in its Authorization header (RFC 6750), or in the cookie of a signed-in browser. */
export function tokenOf(headers: { readonly authorization?: string; readonly cookie?: string }): string | undefined {
  const bearer = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
  if (bearer !== undefined || headers.authorization !== undefined) return bearer;
  const cookies = (headers.cookie ?? '').split(';').map((pair) => pair.trim());
  return cookies.find((pair) => pair.startsWith(`${SESSION_COOKIE}=`))?.slice(SESSION_COOKIE.length + 1);
}

/** Whether a scope includes another: admin includes operator, and operator includes viewer. */
export function includesScope(held: Scope, needed: Scope): boolean {
  return scopeSchema.options.indexOf(held) >= scopeSchema.options.indexOf(needed);
}

/** Lets nobody use the API without a token that allows it. */
export class AccessGuard implements CanActivate {
  readonly #reflector = new Reflector();

  constructor(@Inject(Tokens) private readonly tokens: Tokens) {}

  /** @throws ProblemError 401, 403 */
  async canActivate(context: ExecutionContext): Promise<boolean> {
    // A message of a device: the broker has let it in.
    if (context.getType() !== 'http') return true;
    const request = context.switchToHttp().getRequest<Request & { session?: SignedIn }>();
    // Health and metrics, which probes ask without an account. By controller: a path can be spelled in other ways.
    if (context.getClass() === HealthController) return true;
    const needed = this.#reflector.getAllAndOverride<Scope | 'public' | undefined>(ACCESS, [
      context.getHandler(),
      context.getClass(),
    ]);
    if (needed === 'public') return true;
    const token = tokenOf(request.headers);
    if (token === undefined) throw new ProblemError(401, 'a token is needed: send it as "Authorization: Bearer TOKEN"');
    const session = await this.tokens.verify(token);
    if (session === undefined) throw new ProblemError(401, 'the token is unknown, revoked or expired');
    if (!includesScope(session.scope, needed ?? 'viewer'))
      throw new ProblemError(
        403,
        `the token ${JSON.stringify(session.name)} is for a ${session.scope}; this needs ${needed}`,
      );
    request.session = session;
    return true;
  }
}
