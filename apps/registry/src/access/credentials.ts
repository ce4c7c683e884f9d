import type { CredentialsList, Credentials as DeviceCredentials, DeviceId, Revocation } from '@muster/contract';
import { appendEvents, type Prisma, type PrismaClient } from '@muster/database';
import { AccountError, randomPassword, type AccountStore } from '@muster/security';
import { ProblemError, type Logger } from '@muster/service';

/** Where devices connect. */
export interface DeviceBroker {
  readonly name: string;
  readonly url: string;
}

/** How long a request waits for the brokers' agents, which take some 50 ms. */
const APPLIED_LIMIT_MS = 5_000;
const BULK_LIMIT_MS = 20_000;

const STATUS: Readonly<Record<AccountError['code'], number>> = {
  'reserved-device-id': 422,
  decommissioned: 409,
  'account-exists': 409,
  'no-account': 404,
};

/** The accounts of devices at the brokers. */
export class Credentials {
  constructor(
    private readonly database: PrismaClient,
    private readonly accounts: AccountStore,
    private readonly brokers: readonly DeviceBroker[],
    /** Whether the brokers take their accounts from Muster. */
    private readonly managed: boolean,
    private readonly logger: Logger,
    /** Called with devices that are disconnected because their password or account has gone with a version of them. */
    private readonly onDisconnected: (devices: readonly DeviceId[], version: bigint) => Promise<void>,
  ) {}

  /**
   * Gives a device an account, or a new password with `rotate`, and answers when the brokers use it; a device that is
   * connected with the old password is disconnected. A device that was not known is registered. `also` is what is to be
   * so from the same moment on; it gets the version of the accounts, and who gives it says what becomes of the device.
   * @throws ProblemError 404 (rotate without an account), 409, 422
   */
  async issue(
    device: DeviceId,
    { rotate }: { readonly rotate: boolean },
    also?: (transaction: Prisma.TransactionClient, version: bigint) => Promise<void>,
  ): Promise<DeviceCredentials> {
    this.#requireManaged();
    const password = randomPassword();
    const { version, broker } = await this.#asProblem(() =>
      this.database.$transaction(async (transaction) => {
        if (!rotate)
          await transaction.device.upsert({
            where: { id: device },
            create: { id: device },
            update: {},
          });
        const granted = await this.accounts.grant(transaction, device, password, { rotate });
        await refuseArchived(transaction, [device]);
        await this.#register(transaction, [device]);
        await also?.(transaction, granted);
        return { version: granted, broker: await this.#assign(transaction, device) };
      }),
    );
    this.logger.info({ device, version: Number(version), rotate }, 'credentials issued');
    const names = this.brokers.map(({ name }) => name);
    const brokers = await this.accounts.whenApplied(names, version, APPLIED_LIMIT_MS);
    if (rotate && also === undefined) await this.onDisconnected([device], version);
    return {
      device,
      clientId: device,
      username: device,
      password,
      broker,
      version: Number(version),
      brokers: [...brokers],
    };
  }

  /**
   * Gives many devices their accounts at once and answers when the brokers use them; devices that were not known are
   * registered, and shards fill evenly.
   * @throws ProblemError 409, 422; then none has changed
   */
  async issueAll(devices: readonly DeviceId[], { rotate }: { readonly rotate: boolean }): Promise<CredentialsList> {
    this.#requireManaged();
    const accounts = devices.map((device) => ({ device, password: randomPassword() }));
    const { version, assigned } = await this.#asProblem(() =>
      this.database.$transaction(
        async (transaction) => {
          // In one order, so that two requests for the same devices do not wait for each other.
          await transaction.$executeRaw`
            INSERT INTO device (id, updated_at)
            SELECT id, now() FROM unnest(${[...devices]}::text[]) AS id ORDER BY id
            ON CONFLICT (id) DO NOTHING`;
          const granted = await this.accounts.grantAll(transaction, accounts, { rotate });
          await refuseArchived(transaction, devices);
          await this.#register(transaction, devices);
          return { version: granted, assigned: await this.#assignAll(transaction, accounts) };
        },
        { timeout: BULK_LIMIT_MS },
      ),
    );
    this.logger.info({ devices: devices.length, version: Number(version), rotate }, 'credentials issued');
    const names = this.brokers.map(({ name }) => name);
    const brokers = [...(await this.accounts.whenApplied(names, version, APPLIED_LIMIT_MS))];
    if (rotate) await this.onDisconnected(devices, version);
    return {
      items: assigned.map(({ device, password, broker }) => ({
        ...{ device, clientId: device, username: device, password, broker, version: Number(version), brokers },
      })),
    };
  }

  /** Takes a device's account away and answers when no broker lets it in any more; the device stays known. */
  async revoke(device: DeviceId): Promise<Revocation> {
    this.#requireManaged();
    const version = await this.database.$transaction((transaction) => this.accounts.revoke(transaction, device));
    if (version !== undefined) this.logger.info({ device, version: Number(version) }, 'credentials revoked');
    const revocation = await this.revocation(device, version);
    if (version !== undefined) await this.onDisconnected([device], version);
    return revocation;
  }

  /** What has become of an account that was taken away with a version; waits for the brokers. */
  async revocation(device: DeviceId, version: bigint | undefined): Promise<Revocation> {
    if (version === undefined) return { device, revoked: false, version: null, brokers: [] };
    const names = this.brokers.map(({ name }) => name);
    const brokers = await this.accounts.whenApplied(names, version, APPLIED_LIMIT_MS);
    return { device, revoked: true, version: Number(version), brokers: [...brokers] };
  }

  #requireManaged(): void {
    if (!this.managed)
      throw new ProblemError(
        409,
        'the accounts of these brokers are managed elsewhere (MUSTER_BROKER_ACCOUNTS=external); give the device its account there',
      );
  }

  /** Who has an account is registered, and those that were not are told of. */
  async #register(
    transaction: Pick<PrismaClient, 'device' | '$executeRaw'>,
    devices: readonly DeviceId[],
  ): Promise<void> {
    const registered = await transaction.device.updateManyAndReturn({
      where: { id: { in: [...devices] }, state: 'discovered' },
      data: { state: 'registered' },
      select: { id: true },
    });
    await appendEvents(
      transaction,
      registered.map(({ id }) => ({ kind: 'device', device: id as DeviceId, data: { change: 'registered' } })),
    );
  }

  /** The broker that a device keeps, or the one with the fewest: shards fill evenly. */
  async #assign(transaction: Pick<PrismaClient, 'device' | '$queryRaw'>, id: DeviceId): Promise<DeviceBroker> {
    const device = await transaction.device.findUnique({ where: { id }, select: { broker: true } });
    const kept = this.brokers.find(({ name }) => name === device?.broker);
    if (kept !== undefined) return kept;
    const chosen = leastUsed(this.brokers, await this.#counts(transaction));
    await transaction.device.update({ where: { id }, data: { broker: chosen.name } });
    return chosen;
  }

  /** The same for many devices. */
  async #assignAll<Account extends { readonly device: DeviceId }>(
    transaction: Pick<PrismaClient, '$queryRaw' | '$executeRaw'>,
    accounts: readonly Account[],
  ): Promise<readonly (Account & { readonly broker: DeviceBroker })[]> {
    const devices = accounts.map(({ device }) => device);
    const rows = await transaction.$queryRaw<{ id: DeviceId; broker: string }[]>`
      SELECT id, broker FROM device WHERE id = ANY(${devices}::text[]) AND broker IS NOT NULL`;
    const kept = new Map(rows.map(({ id, broker }) => [id, this.brokers.find(({ name }) => name === broker)]));
    const counts = await this.#counts(transaction);
    const assigned = accounts.map((account) => {
      const known = kept.get(account.device);
      if (known !== undefined) return { ...account, broker: known };
      const broker = leastUsed(this.brokers, counts);
      counts.set(broker.name, (counts.get(broker.name) ?? 0) + 1);
      return { ...account, broker };
    });
    const wanted = assigned.map(({ device, broker }) => ({ id: device, broker: broker.name }));
    await transaction.$executeRaw`
      UPDATE device SET broker = row.broker
      FROM jsonb_to_recordset(${JSON.stringify(wanted)}::jsonb) AS row(id text, broker text)
      WHERE device.id = row.id AND device.broker IS DISTINCT FROM row.broker`;
    return assigned;
  }

  /** How many devices each broker has. */
  async #counts(transaction: Pick<PrismaClient, '$queryRaw'>): Promise<Map<string, number>> {
    const rows = await transaction.$queryRaw<{ broker: string; count: number }[]>`
      SELECT broker, count(*)::int AS count FROM device
      WHERE broker IS NOT NULL AND state IN ('discovered', 'registered') GROUP BY broker`;
    return new Map(rows.map(({ broker, count }) => [broker, count]));
  }

  async #asProblem<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof AccountError) throw new ProblemError(STATUS[error.code], error.message);
      throw error;
    }
  }
}

/**
 * Nobody sees what an archived device does: it is not let in anew. To be asked behind the lock of the devices' rows.
 * @throws ProblemError 409
 */
async function refuseArchived(
  transaction: Pick<Prisma.TransactionClient, 'device'>,
  devices: readonly DeviceId[],
): Promise<void> {
  const archived = await transaction.device.findFirst({
    where: { id: { in: [...devices] }, state: 'archived' },
    select: { id: true },
  });
  if (archived !== null)
    throw new ProblemError(
      409,
      `${archived.id} is archived and gets no credentials: restore it first (POST /api/v1/devices/${archived.id}/restore)`,
    );
}

/**
 * The broker with the fewest devices, the first of those that have equally few.
 * @throws RangeError without any broker
 */
export function leastUsed(brokers: readonly DeviceBroker[], devices: ReadonlyMap<string, number>): DeviceBroker {
  const [first, ...others] = brokers;
  if (first === undefined) throw new RangeError('there is no broker to assign');
  const count = ({ name }: DeviceBroker): number => devices.get(name) ?? 0;
  return others.reduce((least, broker) => (count(broker) < count(least) ? broker : least), first);
}
