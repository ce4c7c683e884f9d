import type { Prisma, PrismaClient } from '@muster/database';

/** The channel that tells the agents that a broker is to write to disk what it holds. */
export const SAVE_CHANNEL = 'muster_save';

/** A save that is due. */
export interface DueSave {
  readonly broker: string;
  /** The clock of the database now, before the broker is told: what it held before is in the save. */
  readonly at: string;
}

/**
 * Forced saves, in the database: a request holds for every save that begins after it, so one save fulfils all requests
 * that came before it.
 */
export class BrokerSaves {
  constructor(private readonly database: PrismaClient) {}

  /** Asks for a save of some brokers, in the transaction of the caller; answers the time from which one counts. */
  async request(transaction: Prisma.TransactionClient, brokers: readonly string[]): Promise<string> {
    const [clock] = await transaction.$queryRaw<{ now: string }[]>`SELECT clock_timestamp()::text AS now`;
    const now = clock?.now ?? '';
    await transaction.$executeRaw`
      INSERT INTO broker_save_request (broker, requested_at)
      SELECT broker, ${now}::timestamptz FROM unnest(${[...brokers].sort()}::text[]) AS broker
      ON CONFLICT (broker) DO UPDATE SET requested_at = greatest(broker_save_request.requested_at, excluded.requested_at)`;
    await transaction.$executeRaw`SELECT pg_notify(${SAVE_CHANNEL}, '')`;
    return now;
  }

  /** Those of an agent's brokers that have not been saved since it was last asked for. */
  async due(brokers: readonly string[]): Promise<readonly DueSave[]> {
    return this.database.$queryRaw<DueSave[]>`
      SELECT request.broker, clock_timestamp()::text AS at FROM broker_save_request AS request
      LEFT JOIN broker_agent ON broker_agent.broker = request.broker
      WHERE request.broker = ANY(${[...brokers]}::text[])
        AND request.requested_at > coalesce(broker_agent.saved_at, '-infinity')`;
  }

  /** Notes that a broker has written what it held at a time. */
  async note({ broker, at }: DueSave): Promise<void> {
    await this.database.$executeRaw`
      INSERT INTO broker_agent (broker, seen_at, saved_at) VALUES (${broker}, now(), ${at}::timestamptz)
      ON CONFLICT (broker) DO UPDATE SET saved_at = excluded.saved_at`;
  }
}
