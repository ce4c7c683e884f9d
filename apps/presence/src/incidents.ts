import { appendEvents, type Prisma, type PrismaClient } from '@muster/database';
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
    const told = { uptimeMs, toldAt: new Date(toldAtMs) };
    await this.#write((transaction) =>
      transaction.presenceBroker.upsert({ where: { broker }, create: { broker, ...told }, update: told }),
    );
  }

  /** Takes that a broker was lost or started anew, with how many devices were behind it: none, and it is no incident. */
  async begin(
    broker: string,
    { kind, fromMs }: Exclude<BrokerVerdict, { kind: 'back' }>,
    devices: number,
  ): Promise<void> {
    const event = { kind: 'incident' as const, device: null, data: { broker, kind, devices } };
    await this.#turns.acquire(broker, async () => {
      const open = this.#open.get(broker);
      if (open === undefined) {
        if (devices === 0) return;
        const id = await this.#write(async (transaction) => {
          const data = { broker, kind, from: new Date(fromMs), devices };
          const incident = await transaction.incident.create({ data });
          await appendEvents(transaction, [event]);
          return incident.id;
        });
        this.#open.set(broker, { id, fromMs });
      } else if (kind === 'restarted') {
        await this.#write(async (transaction) => {
          await transaction.incident.update({ where: { id: open.id }, data: { kind } });
          await appendEvents(transaction, [event]);
        });
      }
    });
  }

  /** Takes that every device behind a broker is known again, or lost. */
  async end(broker: string, lost: number, nowMs: number): Promise<void> {
    await this.#turns.acquire(broker, async () => {
      const open = this.#open.get(broker);
      if (open === undefined) return;
      await this.#write(async (transaction) => {
        await transaction.incident.update({ where: { id: open.id }, data: { until: new Date(nowMs), lost } });
        const data = { broker, kind: 'back' as const, devices: lost };
        await appendEvents(transaction, [{ kind: 'incident', device: null, data }]);
      });
      this.#open.delete(broker);
    });
  }

  /** One transaction of the active process; of any other, nothing is done. */
  async #write<Result>(work: (transaction: Prisma.TransactionClient) => Promise<Result>): Promise<Result> {
    return this.database.$transaction(async (transaction) => {
      const held = await transaction.$queryRaw<unknown[]>(this.leadership.held);
      if (held.length === 0) throw this.leadership.deposed();
      return work(transaction);
    });
  }
}
