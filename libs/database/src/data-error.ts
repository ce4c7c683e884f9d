import { DatabaseError } from 'pg';
import { Prisma } from './client/client.ts';

/** Data exceptions, violated constraints, exceeded limits (PostgreSQL, appendix A): the same statement will fail for ever. */
const DATA_CLASSES = ['22', '23', '54'];

/**
 * Whether PostgreSQL refused the data of a statement, so that trying it again is of no use; false for everything that
 * may pass, such as a server that is away.
 */
export function isDataError(error: unknown): boolean {
  const state = sqlState(error);
  return state !== undefined && DATA_CLASSES.includes(state.slice(0, 2));
}

/** Whether somebody else has written a row with the same key before (PostgreSQL, appendix A: unique_violation). */
export function isConflict(error: unknown): boolean {
  return sqlState(error) === '23505';
}

function sqlState(error: unknown): string | undefined {
  if (error instanceof DatabaseError) return error.code;
  if (!(error instanceof Prisma.PrismaClientKnownRequestError)) return undefined;
  const { driverAdapterError } = (error.meta ?? {}) as { driverAdapterError?: { cause?: { originalCode?: unknown } } };
  const code = driverAdapterError?.cause?.originalCode ?? error.meta?.['code'];
  return typeof code === 'string' ? code : undefined;
}
