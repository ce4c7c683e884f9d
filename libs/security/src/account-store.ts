import { isDeviceId, type DeviceId, type DeviceInfo, type TopicMap } from '@muster/contract';
import type { Prisma, PrismaClient } from '@muster/database';
import { renderAclFile, SHARED_USERNAME } from './acl-file.ts';
import { isPasswordOf, passwordHash, renderPasswordFile, type PasswordEntry } from './password-file.ts';
import { tokenHash } from './token.ts';

/** The channel that tells the agents of a new account version. */
export const ACCOUNT_CHANNEL = 'muster_accounts';
/** Whether an id is kept for services: their client ids begin so, and a device of such a name could take their session. */
export function isReservedDeviceId(id: string): boolean {
  return id.startsWith('muster-');
}

/** An account could not be made. */
export class AccountError extends Error {
  override readonly name = 'AccountError';

  constructor(
    readonly code: 'reserved-device-id' | 'decommissioned' | 'account-exists' | 'no-account',
    message: string,
  ) {
    super(message);
  }
}

/** Both files of a broker, and the version of the accounts that they were made of. */
export interface BrokerFiles {
  readonly version: bigint;
  readonly passwords: string;
  readonly acl: string;
}

/** Whether a broker has taken a version of the accounts. */
export interface AppliedVersion {
  readonly broker: string;
  readonly applied: boolean;
}

/** Within a transaction: accounts changed. The row's lock puts changes in one order, so no version is ever skipped. */
async function bumpVersion(transaction: Prisma.TransactionClient): Promise<bigint> {
  const [row] = await transaction.$queryRaw<{ version: bigint }[]>`
    INSERT INTO account_version (id, version) VALUES (1, 1)
    ON CONFLICT (id) DO UPDATE SET version = account_version.version + 1, changed_at = now() RETURNING version`;
  await transaction.$executeRaw`SELECT pg_notify(${ACCOUNT_CHANNEL}, '')`;
  return row?.version ?? 0n;
}

/** The accounts of the brokers in the database. */
export class AccountStore {
  constructor(private readonly database: PrismaClient) {}

  /**
   * Makes accounts so that they open with these passwords, in one version; what is so already stays as it is, and no
   * version is made for nothing. Devices that have been decommissioned are left out.
   */
  async ensure(
    accounts: readonly {
      readonly kind: 'service' | 'device' | 'shared';
      readonly username: string;
      readonly password: string;
    }[],
    removed: readonly string[] = [],
  ): Promise<void> {
    await this.database.$transaction(async (transaction) => {
      const names = accounts.map(({ username }) => username);
      const known = await transaction.brokerAccount.findMany({ where: { username: { in: names } } });
      const tombstones = await transaction.tombstone.findMany({ where: { device: { in: names } } });
      const hashes = new Map(known.map((account) => [account.username, account.passwordHash]));
      const changed = accounts.filter(
        ({ username, password }) =>
          !isPasswordOf(hashes.get(username) ?? '', password) && !tombstones.some(({ device }) => device === username),
      );
      if (changed.length > 0) await this.#put(transaction, changed);
      const { count } = await transaction.brokerAccount.deleteMany({ where: { username: { in: [...removed] } } });
      if (changed.length > 0 || count > 0) await bumpVersion(transaction);
    });
  }

  /**
   * Gives a device an account, in the transaction of the caller.
   * @throws AccountError `reserved-device-id`, `decommissioned`, `account-exists` (without `rotate`), `no-account` (with it)
   */
  async grant(
    transaction: Prisma.TransactionClient,
    device: DeviceId,
    password: string,
    { rotate }: { readonly rotate: boolean },
  ): Promise<bigint> {
    if (isReservedDeviceId(device))
      throw new AccountError(
        'reserved-device-id',
        `${device}: ids that begin with "muster-" are kept for services; choose another id`,
      );
    // Locks out a decommissioning of the same device, which starts with its row too.
    await transaction.$executeRaw`SELECT 1 FROM device WHERE id = ${device} FOR UPDATE`;
    if ((await transaction.tombstone.findUnique({ where: { device } })) !== null)
      throw new AccountError('decommissioned', `${device} has been decommissioned: its id stays silent`);
    const known = await transaction.brokerAccount.findUnique({ where: { username: device } });
    if (known !== null && !rotate)
      throw new AccountError('account-exists', `${device} has an account; rotate its password, or revoke it first`);
    if (known === null && rotate) throw new AccountError('no-account', `${device} has no account to rotate`);
    const hash = passwordHash(password);
    await transaction.brokerAccount.upsert({
      where: { username: device },
      create: { username: device, kind: 'device', passwordHash: hash },
      update: { passwordHash: hash, changedAt: new Date() },
    });
    return bumpVersion(transaction);
  }

  /**
   * Gives many devices their accounts, in the transaction of the caller: all of them or none, in one version.
   * @throws AccountError `reserved-device-id`, `decommissioned`, `account-exists` (without `rotate`)
   */
  async grantAll(
    transaction: Prisma.TransactionClient,
    accounts: readonly { readonly device: DeviceId; readonly password: string }[],
    { rotate }: { readonly rotate: boolean },
  ): Promise<bigint> {
    const devices = accounts.map(({ device }) => device);
    const reserved = devices.find(isReservedDeviceId);
    if (reserved !== undefined)
      throw new AccountError(
        'reserved-device-id',
        `${reserved}: ids that begin with "muster-" are kept for services; choose another id`,
      );
    // Locks out decommissionings of the same devices; in one order, so that two requests do not wait for each other.
    await transaction.$executeRaw`SELECT 1 FROM device WHERE id = ANY(${devices}::text[]) ORDER BY id FOR UPDATE`;
    const [tombstone] = await transaction.tombstone.findMany({ where: { device: { in: devices } }, take: 1 });
    if (tombstone !== undefined)
      throw new AccountError('decommissioned', `${tombstone.device} has been decommissioned: its id stays silent`);
    const [known] = rotate
      ? []
      : await transaction.brokerAccount.findMany({ where: { username: { in: devices } }, take: 1 });
    if (known !== undefined)
      throw new AccountError(
        'account-exists',
        `${known.username} has an account; rotate its password, or revoke it first`,
      );
    await this.#put(
      transaction,
      accounts.map(({ device, password }) => ({ username: device, kind: 'device', password })),
    );
    return bumpVersion(transaction);
  }

  async #put(
    transaction: Prisma.TransactionClient,
    accounts: readonly { readonly username: string; readonly kind: string; readonly password: string }[],
  ): Promise<void> {
    const rows = accounts.map(({ username, kind, password }) => ({ username, kind, hash: passwordHash(password) }));
    await transaction.$executeRaw`
      INSERT INTO broker_account (username, kind, password_hash)
      SELECT username, kind, hash FROM jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) AS row(username text, kind text, hash text)
      ON CONFLICT (username) DO UPDATE
      SET password_hash = excluded.password_hash, kind = excluded.kind, changed_at = now()`;
  }

  /** The newest version, in the transaction of the caller: every account that was taken away before is not in it. */
  async versionIn(transaction: Prisma.TransactionClient): Promise<bigint> {
    return (await transaction.accountVersion.findUnique({ where: { id: 1 } }))?.version ?? 0n;
  }

  /** Whether a device has an account. */
  async has(device: DeviceId): Promise<boolean> {
    return (await this.database.brokerAccount.count({ where: { username: device, kind: 'device' } })) > 0;
  }

  /** Takes a device's account away, in the transaction of the caller; answers the version, or undefined where it had none. */
  async revoke(transaction: Prisma.TransactionClient, device: DeviceId): Promise<bigint | undefined> {
    const { count } = await transaction.brokerAccount.deleteMany({ where: { username: device, kind: 'device' } });
    return count === 0 ? undefined : bumpVersion(transaction);
  }

  /**
   * Puts other passwords in the place of devices' own, in the transaction of the caller: from then on their own are
   * refused, and who knows the new ones can try that brokers let the devices in, and later that they do not. Of those
   * without an account only the ones are given one that `missing` says. Answers the version, and who has a trial account.
   */
  async putTrials(
    transaction: Prisma.TransactionClient,
    trials: ReadonlyMap<DeviceId, string>,
    missing: 'made' | 'left-out',
  ): Promise<{ readonly version: bigint; readonly devices: readonly DeviceId[] }> {
    const rows = [...trials].map(([username, password]) => ({ username, hash: passwordHash(password) }));
    const devices =
      missing === 'made'
        ? await transaction.$queryRaw<{ username: DeviceId }[]>`
            INSERT INTO broker_account (username, kind, password_hash)
            SELECT username, 'trial', hash FROM jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) AS row(username text, hash text)
            ON CONFLICT (username) DO UPDATE
            SET password_hash = excluded.password_hash, kind = excluded.kind, changed_at = now()
            RETURNING username`
        : await transaction.$queryRaw<{ username: DeviceId }[]>`
            UPDATE broker_account SET password_hash = row.hash, kind = 'trial', changed_at = now()
            FROM jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) AS row(username text, hash text)
            WHERE broker_account.username = row.username AND broker_account.kind IN ('device', 'trial')
            RETURNING broker_account.username`;
    const version = devices.length === 0 ? await this.versionIn(transaction) : await bumpVersion(transaction);
    return { version, devices: devices.map(({ username }) => username) };
  }

  /** Takes trial accounts away; answers the version in which there are none. */
  async takeTrials(devices: readonly DeviceId[]): Promise<bigint> {
    return this.database.$transaction(async (transaction) => {
      const { count } = await transaction.brokerAccount.deleteMany({
        where: { username: { in: [...devices] }, kind: 'trial' },
      });
      return count === 0 ? this.versionIn(transaction) : bumpVersion(transaction);
    });
  }

  /** Whether there is an account that any number of devices may share. */
  async isShared(): Promise<boolean> {
    return (await this.database.brokerAccount.count({ where: { kind: 'shared' } })) > 0;
  }

  /** Tells the agents, in the transaction of the caller, that the topics changed that devices say they own. */
  async topicsChanged(transaction: Prisma.TransactionClient, devices: readonly DeviceId[]): Promise<void> {
    const accounts = await transaction.brokerAccount.count({ where: { username: { in: [...devices] } } });
    if (accounts > 0) await bumpVersion(transaction);
  }

  /** The newest version; 0 before the first account. */
  async version(): Promise<bigint> {
    return (await this.database.accountVersion.findUnique({ where: { id: 1 } }))?.version ?? 0n;
  }

  /** What a broker's files have to hold now; `probe` is the agent's own account. */
  async files(topicMap: TopicMap, probe: PasswordEntry): Promise<BrokerFiles> {
    const [version, accounts, devices] = await this.database.$transaction(
      [
        this.database.accountVersion.findUnique({ where: { id: 1 } }),
        this.database.brokerAccount.findMany({ orderBy: { username: 'asc' } }),
        this.database.$queryRaw<{ id: DeviceId; topics: DeviceInfo['topics'] | null }[]>`
          SELECT broker_account.username AS id, device.info -> 'topics' AS topics
          FROM broker_account LEFT JOIN device ON device.id = broker_account.username
          WHERE broker_account.kind = 'device' ORDER BY broker_account.username COLLATE "C"`,
      ],
      { isolationLevel: 'RepeatableRead' },
    );
    return {
      version: version?.version ?? 0n,
      passwords: renderPasswordFile([...accounts, probe]),
      acl: renderAclFile({
        topicMap,
        devices: devices
          .filter(({ id }) => isDeviceId(id))
          .map(({ id, topics }) => ({ device: id, topics: topics ?? [] })),
        shared: accounts.some(({ username }) => username === SHARED_USERNAME),
      }),
    };
  }

  /** Notes what an agent has done. */
  async report(
    broker: string,
    result: { readonly version: bigint } | { readonly fault: string | null },
  ): Promise<void> {
    const now = new Date();
    const values =
      'version' in result
        ? { version: result.version, appliedAt: now, seenAt: now, fault: null }
        : { seenAt: now, fault: result.fault };
    await this.database.brokerAgent.upsert({ where: { broker }, create: { broker, ...values }, update: values });
  }

  /** Waits until the brokers have taken a version; answers after `timeoutMs` at the latest, saying which have not. */
  async whenApplied(
    brokers: readonly string[],
    version: bigint,
    timeoutMs: number,
  ): Promise<readonly AppliedVersion[]> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const rows = await this.database.brokerAgent.findMany({ where: { broker: { in: [...brokers] } } });
      const states = brokers.map((broker) => ({
        broker,
        applied: (rows.find((row) => row.broker === broker)?.version ?? -1n) >= version,
      }));
      if (states.every(({ applied }) => applied) || Date.now() > deadline) return states;
      await new Promise((resolve) => setTimeout(resolve, APPLIED_POLL_MS));
    }
  }
}

const APPLIED_POLL_MS = 25;

/** Makes sure that a token with full rights is there, for whoever installs. */
export async function ensureAdminToken(database: PrismaClient, name: string, token: string): Promise<void> {
  const hash = tokenHash(token);
  await database.$transaction([
    // A new token of this name takes the place of the old one.
    database.apiToken.updateMany({
      where: { name, scope: 'admin', hash: { not: hash }, revokedAt: null },
      data: { revokedAt: new Date() },
    }),
    database.apiToken.upsert({
      where: { hash },
      create: { id: hash.slice(0, 12), name, scope: 'admin', hash },
      // One that was revoked stays so: whoever wants it back sets another value.
      update: {},
    }),
  ]);
}

/** The role with which Grafana reads, and nothing else. */
export const GRAFANA_ROLE = 'muster_grafana';

/**
 * Makes or updates the role of dashboards: it reads the views of the schema `grafana`, and no table. Answers false where
 * our own role may not make roles, as in many managed databases: then it is for their operator to make.
 */
export async function ensureGrafanaReader(database: PrismaClient, password: string): Promise<boolean> {
  const [own] = await database.$queryRaw<{ allowed: boolean }[]>`
    SELECT rolcreaterole OR rolsuper AS allowed FROM pg_roles WHERE rolname = current_user`;
  if (own?.allowed !== true) return false;
  // DDL takes no parameters; the literal is quoted by PostgreSQL itself.
  const [quoted] = await database.$queryRaw<{ password: string }[]>`SELECT quote_literal(${password}) AS password`;
  const [role] = await database.$queryRaw<unknown[]>`SELECT 1 FROM pg_roles WHERE rolname = ${GRAFANA_ROLE}`;
  await database.$transaction([
    // Without rights by default; to say so at ALTER ROLE only a superuser is allowed.
    database.$executeRawUnsafe(
      `${role === undefined ? 'CREATE' : 'ALTER'} ROLE ${GRAFANA_ROLE} LOGIN PASSWORD ${quoted?.password ?? ''}`,
    ),
    database.$executeRawUnsafe(`ALTER ROLE ${GRAFANA_ROLE} SET default_transaction_read_only = on`),
    database.$executeRawUnsafe(`ALTER ROLE ${GRAFANA_ROLE} SET statement_timeout = '15s'`),
    database.$executeRawUnsafe(`GRANT USAGE ON SCHEMA grafana TO ${GRAFANA_ROLE}`),
    database.$executeRawUnsafe(`GRANT SELECT ON ALL TABLES IN SCHEMA grafana TO ${GRAFANA_ROLE}`),
  ]);
  return true;
}
