import { Pool } from 'pg';
import { connectionOptions, STATEMENT_LIMIT_MS, statementLimit } from './connection.ts';

/**
 * Connections to PostgreSQL for statements with thousands of rows, as columns: through Prisma each row would cost half
 * as much again, and its parameters stay in memory long after (docs/decisions/016-rows-by-columns.md).
 */
export class BulkConnection {
  readonly #pool: Pool;

  /**
   * @param service shows in pg_stat_activity
   * @param maxConnections statements at once
   * @param onLost takes why a connection was lost that nobody used; the next statement makes another one
   */
  constructor(url: string, service: string, maxConnections: number, onLost: (error: Error) => void) {
    this.#pool = new Pool({
      ...connectionOptions(url, `muster-${service}-bulk`),
      ...statementLimit(STATEMENT_LIMIT_MS),
      max: maxConnections,
    });
    this.#pool.on('error', onLost);
  }

  /**
   * Runs a statement whose parameters, `$1::text` and so on, are texts as bytes.
   * @throws DatabaseError of pg where PostgreSQL refuses it; Error where it is away
   */
  async execute(statement: string, parameters: readonly Buffer[]): Promise<void> {
    await this.#pool.query(statement, [...parameters]);
  }

  /** Waits for what is under way, then leaves. */
  async close(): Promise<void> {
    await this.#pool.end();
  }
}
