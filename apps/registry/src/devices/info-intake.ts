import { isDeepStrictEqual } from 'node:util';
import type { DeviceId, DeviceInfo } from '@muster/contract';
import { discover, isDataError, type PrismaClient } from '@muster/database';
import type { AccountStore } from '@muster/security';

interface Entry {
  readonly device: DeviceId;
  readonly info: DeviceInfo;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const MAX_BATCH = 500;
const TRANSACTION_LIMIT_MS = 20_000;

/**
 * Keeps what devices say about themselves. Those that come together are written together: a fleet that comes back says
 * it all at once, and a transaction for each would keep everybody else from the database (mqtt-pitfalls B11).
 */
export class InfoIntake {
  #waiting: Entry[] = [];
  #isWorking = false;

  constructor(
    private readonly database: PrismaClient,
    private readonly accounts: AccountStore,
  ) {}

  /** Takes an info; resolves when it is committed. A device that was not known is discovered, one with a tombstone is not. */
  async take(device: DeviceId, info: DeviceInfo): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ device, info, resolve, reject });
      if (!this.#isWorking) void this.#work();
    });
  }

  async #work(): Promise<void> {
    this.#isWorking = true;
    while (this.#waiting.length > 0) await this.#settle(this.#waiting.splice(0, MAX_BATCH));
    this.#isWorking = false;
  }

  async #settle(batch: readonly Entry[]): Promise<void> {
    try {
      await this.#write(batch);
      for (const { resolve } of batch) resolve();
    } catch (error) {
      // One that PostgreSQL will never take must not cost the others.
      if (batch.length > 1 && isDataError(error)) for (const entry of batch) await this.#settle([entry]);
      else for (const { reject } of batch) reject(error);
    }
  }

  async #write(batch: readonly Entry[]): Promise<void> {
    const newest = new Map(batch.map(({ device, info }) => [device, info]));
    const { tombstoned } = await discover(this.database, [...newest.keys()]);
    for (const device of tombstoned) newest.delete(device as DeviceId);
    if (newest.size === 0) return;
    const devices = [...newest.keys()];
    const rows = [...newest].map(([id, info]) => ({ id, info }));
    await this.database.$transaction(
      async (transaction) => {
        const before = await transaction.$queryRaw<{ id: DeviceId; topics: DeviceInfo['topics'] | null }[]>`
          SELECT id, info -> 'topics' AS topics FROM device WHERE id = ANY(${devices}::text[]) ORDER BY id FOR UPDATE`;
        await transaction.$executeRaw`
          UPDATE device SET info = row.info, updated_at = now()
          FROM jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) AS row(id text, info jsonb)
          WHERE device.id = row.id`;
        const changed = before.filter(
          ({ id, topics }) => !isDeepStrictEqual(topics ?? [], newest.get(id)?.topics ?? []),
        );
        if (changed.length > 0)
          await this.accounts.topicsChanged(
            transaction,
            changed.map(({ id }) => id),
          );
      },
      { timeout: TRANSACTION_LIMIT_MS },
    );
  }
}
