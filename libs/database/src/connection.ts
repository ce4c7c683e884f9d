import type { ClientConfig } from 'pg';

/** So long a statement may take, with what it waits for: one that takes longer is stuck. */
export const STATEMENT_LIMIT_MS = 30_000;
/** So much later it is given up where the server does not say that it has ended it. */
const ANSWER_GRACE_MS = 5_000;

/** How a connection is made that a service keeps open; `name` shows in pg_stat_activity. */
export function connectionOptions(url: string, name: string): ClientConfig {
  return {
    connectionString: url,
    application_name: name,
    connectionTimeoutMillis: 5_000,
    // A server that is gone without a word is found out.
    ...{ keepAlive: true, keepAliveInitialDelayMillis: 10_000 },
  };
}

/**
 * Ends a statement that is stuck with an error: the server does, and should it be stuck itself, the client. A transaction
 * whose process hangs ends as well: what it has locked, others wait for.
 */
export function statementLimit(limitMs: number): ClientConfig {
  return {
    ...{ statement_timeout: limitMs, idle_in_transaction_session_timeout: limitMs },
    query_timeout: limitMs + ANSWER_GRACE_MS,
  };
}
