import { Prisma, type PrismaClient } from '@muster/database';
import AsyncLock from 'async-lock';
import type { BrokerVerdict, Uptime } from './broker-condition.ts';
import type { Leadership } from './leadership.ts';

interface Open {
  readonly id: bigint;
  readonly fromMs: number;
}

/** Brokers that were lost or started anew, in PostgreSQL: one row for each, however many devices are behind it. */
export class Incidents {
  readonly #open = new Map<string, Open>();
  /** One after the other: a broker that is lost and started anew at once is one incident. */
  readonly #turns = new AsyncLock();

  constructor(
    private readonly database: PrismaClient,
    private readonly leadership: Leadership,
  ) {}

  /** What each broker has told of its uptime, as it is on record; takes up what an earlier process has left open. */
  async load(): Promise<ReadonlyMap<string, Uptime>> {
    for (const { id, broker, from } of await this.database.incident.findMany({ where: { until: null } }))
      this.#open.set(broker, { id, fromMs: from.getTime() });
    const brokers = await this.database.presenceBroker.findMany();
    return new Map(
      brokers.map(({ broker, uptimeMs, toldAt }) => [
        broker,
        { uptimeMs: Number(uptimeMs), toldAtMs: toldAt.getTime() },
      ]),
    );
  }

  /** Brokers with an incident that is not over, and since when it lasts. */
  get open(): ReadonlyMap<string, { readonly fromMs: number }> {
    return this.#open;
  }

  /** Keeps what a broker has told of its uptime. */
  async told(broker: string, { uptimeMs, toldAtMs }: Uptime): Promise<void> {
    await this.#write(Prisma.sql`
      INSERT INTO presence_broker (broker, uptime_ms, told_at)
      SELECT ${broker}, ${BigInt(Math.round(uptimeMs))}::bigint, ${new Date(toldAtMs)}::timestamptz FROM held
      ON CONFLICT (broker) DO UPDATE SET uptime_ms = excluded.uptime_ms, told_at = excluded.told_at
      RETURNING NULL::bigint AS id`);
  }

  /** Takes that a broker was lost or started anew, with how many devices were behind it: none, and it is no incident. */
  async begin(
    broker: string,
    { kind, fromMs }: Exclude<BrokerVerdict, { kind: 'back' }>,
    devices: number,
  ): Promise<void> {
    await this.#turns.acquire(broker, async () => {
      const open = this.#open.get(broker);
      if (open === undefined) {
        if (devices === 0) return;
        const from = new Date(fromMs);
        const made = Prisma.sql`
          INSERT INTO incident (broker, kind, "from", devices)
          SELECT ${broker}, ${kind}, ${from}::timestamptz, ${devices}::int FROM held RETURNING id`;
        const id = await this.#write(made, { broker, kind, devices });
        if (id === null) throw new Error('PostgreSQL gave an incident no id');
        this.#open.set(broker, { id, fromMs });
      } else if (kind === 'restarted') {
        const changed = Prisma.sql`
          UPDATE incident SET kind = ${kind} FROM held WHERE id = ${open.id} RETURNING id`;
        await this.#write(changed, { broker, kind, devices });
      }
    });
  }

  /** Takes that every device behind a broker is known again, or lost. */
  async end(broker: string, lost: number, nowMs: number): Promise<void> {
    await this.#turns.acquire(broker, async () => {
      const open = this.#open.get(broker);
      if (open === undefined) return;
      const until = new Date(nowMs);
      const ended = Prisma.sql`
        UPDATE incident SET until = ${until}::timestamptz, lost = ${lost}::int FROM held WHERE id = ${open.id} RETURNING id`;
      await this.#write(ended, { broker, kind: 'back', devices: lost });
      this.#open.delete(broker);
    });
  }

  /**
   * Makes a change, which depends on `held`, and puts an event on record with it; answers the id that the change returns.
   * One statement: a process that hangs amid a transaction would hold the lock that its successor waits for.
   */
  async #write(
    change: Prisma.Sql,
    event?: { readonly broker: string; readonly kind: 'lost' | 'restarted' | 'back'; readonly devices: number },
  ): Promise<bigint | null> {
    const [row] = await this.database.$queryRaw<{ id: bigint | null }[]>`
      WITH held AS MATERIALIZED (${this.leadership.held}), change AS (${change}), told AS (
        INSERT INTO event (kind, data)
        SELECT 'incident', ${JSON.stringify(event ?? null)}::jsonb FROM held WHERE ${event !== undefined}
      )
      SELECT (SELECT id FROM change) AS id FROM held`;
    if (row === undefined) throw this.leadership.deposed();
    return row.id;
  }
}
