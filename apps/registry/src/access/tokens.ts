import type { ApiToken, ApiTokenRequest, NewApiToken, Scope, SignedIn } from '@muster/contract';
import type { PrismaClient } from '@muster/database';
import { newToken, tokenHash } from '@muster/security';
import { ProblemError } from '@muster/service';

const DAY_MS = 86_400_000;
/** `last used` is to the minute, so that asking costs no write each time. */
const USED_EVERY_MS = 60_000;

interface TokenRow {
  readonly id: string;
  readonly name: string;
  readonly scope: string;
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  readonly lastUsedAt: Date | null;
  readonly revokedAt: Date | null;
}

function apiToken(row: TokenRow): ApiToken {
  return {
    id: row.id,
    name: row.name,
    scope: row.scope as Scope,
    createdAt: row.createdAt.toISOString(),
    expiresAt: row.expiresAt?.toISOString() ?? null,
    lastUsedAt: row.lastUsedAt?.toISOString() ?? null,
    revokedAt: row.revokedAt?.toISOString() ?? null,
  };
}

/** The tokens of the REST API. */
export class Tokens {
  constructor(private readonly database: PrismaClient) {}

  /** Whose token this is; undefined for one that is unknown, revoked or expired. */
  async verify(token: string, now = new Date()): Promise<SignedIn | undefined> {
    const row = await this.database.apiToken.findUnique({ where: { hash: tokenHash(token) } });
    if (row === null || row.revokedAt !== null || (row.expiresAt !== null && row.expiresAt <= now)) return undefined;
    if (row.lastUsedAt === null || now.getTime() - row.lastUsedAt.getTime() > USED_EVERY_MS)
      await this.database.apiToken.updateMany({ where: { id: row.id }, data: { lastUsedAt: now } });
    return { name: row.name, scope: row.scope as Scope };
  }

  /** All tokens, the newest first. */
  async list(): Promise<readonly ApiToken[]> {
    return (await this.database.apiToken.findMany({ orderBy: [{ createdAt: 'desc' }, { id: 'asc' }] })).map(apiToken);
  }

  /** A new token; the only time that it can be read. */
  async create({ name, scope, expiresInDays }: ApiTokenRequest, now = new Date()): Promise<NewApiToken> {
    const token = newToken();
    const hash = tokenHash(token);
    const row = await this.database.apiToken.create({
      data: {
        id: hash.slice(0, 12),
        name,
        scope,
        hash,
        expiresAt: expiresInDays === undefined ? null : new Date(now.getTime() + expiresInDays * DAY_MS),
      },
    });
    return { ...apiToken(row), token };
  }

  /**
   * Revokes a token, which holds from the next request on; revoking it again changes nothing.
   * @throws ProblemError 404; 409 for the last one that may manage tokens
   */
  async revoke(id: string): Promise<ApiToken> {
    return this.database.$transaction(async (transaction) => {
      // One at a time: two admins must not revoke each other's last token.
      await transaction.$executeRaw`SELECT 1 FROM api_token WHERE scope = 'admin' ORDER BY id FOR UPDATE`;
      const row = await transaction.apiToken.findUnique({ where: { id } });
      if (row === null) throw new ProblemError(404, `there is no token ${id}`);
      if (row.revokedAt !== null) return apiToken(row);
      const others = await transaction.apiToken.count({
        where: {
          scope: 'admin',
          revokedAt: null,
          id: { not: id },
          OR: [{ expiresAt: null }, { expiresAt: { gt: new Date() } }],
        },
      });
      if (row.scope === 'admin' && others === 0)
        throw new ProblemError(409, 'this is the last token that may manage tokens; make another one first');
      return apiToken(await transaction.apiToken.update({ where: { id }, data: { revokedAt: new Date() } }));
    });
  }
}
