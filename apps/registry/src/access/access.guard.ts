import { Inject, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { ProblemError } from '@muster/service';
import { neededAccess, requireScope, type SignedInRequest } from '@muster/service/rest';
import { Tokens } from './tokens.ts';

/** The cookie of a signed-in browser. */
export const SESSION_COOKIE = 'muster_session';

/** The token of a request: in its Authorization header (RFC 6750), or in the cookie of a signed-in browser. */
export function tokenOf(headers: { readonly authorization?: string; readonly cookie?: string }): string | undefined {
  const bearer = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
  if (bearer !== undefined || headers.authorization !== undefined) return bearer;
  const cookies = (headers.cookie ?? '').split(';').map((pair) => pair.trim());
  return cookies.find((pair) => pair.startsWith(`${SESSION_COOKIE}=`))?.slice(SESSION_COOKIE.length + 1);
}

/** Lets nobody use the API without a token that allows it. */
export class AccessGuard implements CanActivate {
  constructor(@Inject(Tokens) private readonly tokens: Tokens) {}

  /** @throws ProblemError 401, 403 */
  async canActivate(context: ExecutionContext): Promise<boolean> {
    // A message of a device: the broker has let it in.
    if (context.getType() !== 'http') return true;
    const needed = neededAccess(context);
    if (needed === 'public') return true;
    const request = context.switchToHttp().getRequest<SignedInRequest>();
    const token = tokenOf(request.headers);
    if (token === undefined) throw new ProblemError(401, 'a token is needed: send it as "Authorization: Bearer TOKEN"');
    const session = await this.tokens.verify(token);
    if (session === undefined) throw new ProblemError(401, 'the token is unknown, revoked or expired');
    // Before it may be refused: the audit log says who tried.
    request.session = session;
    requireScope(session, needed);
    return true;
  }
}
