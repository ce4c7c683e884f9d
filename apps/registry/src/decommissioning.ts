import {
  ownableTopics,
  type DecommissionReport,
  type DeviceId,
  type DeviceInfo,
  type TopicMap,
} from '@muster/contract';
import { BrokerConnection, readRetained, type BrokerTarget } from '@muster/broker';
import { TOMBSTONE_CHANNEL, type Prisma, type PrismaClient } from '@muster/database';
import { isReservedDeviceId, type AccountStore } from '@muster/security';
import { ProblemError, type Logger } from '@muster/service';
import type { Credentials } from './credentials.ts';
import { decommissionReport, retainedMessage, split, type BrokerProof, type SharedTopic } from './retained-proof.ts';

const BROKER_TIMEOUT_MS = 5_000;

/** What decommissioning is made of. */
export interface DecommissioningParts {
  readonly database: PrismaClient;
  readonly accounts: AccountStore;
  readonly credentials: Credentials;
  /** Whether the brokers take their accounts from Muster. */
  readonly managed: boolean;
  readonly brokers: readonly BrokerTarget[];
  readonly topicMap: TopicMap;
  readonly logger: Logger;
}

/**
 * Takes devices out of service for good (the order of mqtt-pitfalls R13): a tombstone first, and its account away, so
 * that it is disconnected and not let in again; then its session is ended, and every retained message of the device is found, cleared
 * and looked for again over a fresh connection, on every broker. History in InfluxDB stays.
 */
export class Decommissioning {
  /** One run a device at a time: a second call shares the first one's result. */
  readonly #running = new Map<DeviceId, Promise<DecommissionReport>>();

  readonly #parts: DecommissioningParts;

  constructor(parts: DecommissioningParts) {
    this.#parts = parts;
  }

  /**
   * Decommissions a device. Called again it looks again: the first report comes back where nothing reappeared, and what
   * did reappear is cleared.
   * @throws ProblemError 404
   */
  async decommission(id: DeviceId): Promise<DecommissionReport> {
    const running = this.#running.get(id);
    if (running !== undefined) return running;
    const run = this.#run(id).finally(() => this.#running.delete(id));
    this.#running.set(id, run);
    return run;
  }

  /**
   * The report of an earlier decommissioning.
   * @throws ProblemError 404
   */
  async report(id: DeviceId): Promise<DecommissionReport> {
    const row = await this.#parts.database.decommission.findUnique({ where: { device: id } });
    if (row === null) throw new ProblemError(404, `${id} has not been decommissioned`);
    return storedReport(row.report);
  }

  async #run(id: DeviceId): Promise<DecommissionReport> {
    const device = await this.#parts.database.device.findUnique({ where: { id } });
    if (device === null) throw new ProblemError(404, `no device ${id} has been heard or registered`);
    const earlier = await this.#parts.database.decommission.findUnique({ where: { device: id } });
    const requestedAt = earlier?.requestedAt ?? new Date();
    const account = await this.#account(
      id,
      await this.#entomb(id),
      earlier === null ? undefined : storedReport(earlier.report),
    );

    const owned = ownableTopics(id, (device.info as DeviceInfo | null)?.topics ?? [], this.#parts.topicMap);
    const others = [...(await this.#othersClaims(id)), ...(await this.#othersByName(id, owned))];
    const filters = [...new Set([...this.#parts.topicMap.deviceFilters(id), ...owned])];
    const proofs = await Promise.all(this.#parts.brokers.map((broker) => this.#clear(id, broker, filters, others)));
    const report = decommissionReport({ device: id, requestedAt, now: new Date(), account, filters, proofs });

    const first = earlier === null ? undefined : storedReport(earlier.report);
    if (first?.state === 'verified' && report.state === 'verified' && report.before.length === 0) return first;
    const merged =
      first === undefined
        ? report
        : { ...report, before: [...first.before, ...report.before], cleared: [...first.cleared, ...report.cleared] };
    await this.#keep(merged);
    this.#parts.logger.info({ device: id, state: merged.state, cleared: merged.cleared.length }, 'decommissioned');
    return merged;
  }

  /**
   * From here on no service takes the device for a new one. Answers the newest version of the accounts, in which it has
   * none, also where it was taken away by an earlier call that could not wait for the brokers; and whether it was now.
   */
  async #entomb(id: DeviceId): Promise<{ readonly version: bigint; readonly revoked: boolean }> {
    return this.#parts.database.$transaction(async (transaction) => {
      // First, as credentials do: the two wait for each other, and whoever comes second sees what the first did.
      await transaction.device.updateMany({
        where: { id, state: { in: ['discovered', 'registered'] } },
        data: { state: 'decommissioning' },
      });
      await transaction.tombstone.createMany({ data: [{ device: id }], skipDuplicates: true });
      await transaction.$executeRaw`SELECT pg_notify(${TOMBSTONE_CHANNEL}, ${id})`;
      const revoked = await this.#parts.accounts.revoke(transaction, id);
      return {
        version: revoked ?? (await this.#parts.accounts.versionIn(transaction)),
        revoked: revoked !== undefined,
      };
    });
  }

  /** Waits until the brokers have accounts without this one; a later call goes on where the first one could not. */
  async #account(
    id: DeviceId,
    { version, revoked }: { readonly version: bigint; readonly revoked: boolean },
    earlier: DecommissionReport | undefined,
  ): Promise<DecommissionReport['account']> {
    if (!this.#parts.managed) return { state: 'external', version: null, brokers: [] };
    const { brokers } = await this.#parts.credentials.revocation(id, version);
    const state = revoked || earlier?.account.state === 'revoked' ? 'revoked' : 'none';
    return { state, version: Number(version), brokers };
  }

  /** Topics that other devices in service say they own: where this one owns them too, they are cleared with the last. */
  async #othersClaims(id: DeviceId): Promise<readonly SharedTopic[]> {
    const claims = await this.#parts.database.$queryRaw<{ owner: DeviceId; topics: string[] }[]>`
      SELECT id AS owner, array(SELECT jsonb_array_elements_text(info -> 'topics')) AS topics FROM device
      WHERE id <> ${id} AND state IN ('discovered', 'registered') AND jsonb_typeof(info -> 'topics') = 'array'`;
    return claims.flatMap(({ owner, topics }) =>
      ownableTopics(owner, topics, this.#parts.topicMap).map((topic) => ({ topic, owner })),
    );
  }

  /** Of the topics that this device says it owns, those that are another device's by its name. */
  async #othersByName(id: DeviceId, owned: readonly string[]): Promise<readonly SharedTopic[]> {
    const named = owned.flatMap((topic) => {
      const device = this.#parts.topicMap.match(topic)?.device;
      return device?.valid === true && device.id !== id ? [{ topic, owner: device.id }] : [];
    });
    const inService = await this.#parts.database.device.findMany({
      where: { id: { in: named.map(({ owner }) => owner) }, state: { in: ['discovered', 'registered'] } },
      select: { id: true },
    });
    return named.filter(({ owner }) => inService.some((device) => device.id === owner));
  }

  async #clear(
    id: DeviceId,
    broker: BrokerTarget,
    filters: readonly string[],
    others: readonly SharedTopic[],
  ): Promise<BrokerProof> {
    const before: BrokerProof['before'][number][] = [];
    const cleared: BrokerProof['cleared'][number][] = [];
    let session = false;
    try {
      session = await this.#endSession(id, broker);
      const { own, kept } = split(await readRetained(broker, filters, BROKER_TIMEOUT_MS), others);
      const found = own.map(retainedMessage);
      before.push(...found);
      if (found.length > 0) {
        const connection = new BrokerConnection({
          broker,
          clientId: `muster-clear-${crypto.randomUUID()}`,
          sessionExpirySeconds: 0,
        });
        try {
          await connection.whenReady(BROKER_TIMEOUT_MS);
          for (const message of found) {
            const reasonCode = await connection.publish(message.topic, '', { qos: 1, retain: true });
            cleared.push({ ...message, clearedAt: new Date().toISOString(), reasonCode });
          }
        } finally {
          await connection.close(0);
        }
      }
      const after = split(await readRetained(broker, filters, BROKER_TIMEOUT_MS), others).own.map(retainedMessage);
      return { broker: broker.name, session, before, cleared, after, kept, fault: undefined };
    } catch (error) {
      const fault = `not verified: ${error instanceof Error ? error.message : String(error)}; call again to go on`;
      this.#parts.logger.warn({ err: error, broker: broker.name }, 'decommissioning could not finish on a broker');
      return { broker: broker.name, session, before, cleared, after: [], kept: [], fault };
    }
  }

  /** Takes the device's place and leaves: what was queued for it would else reach whoever gets its id (mqtt-pitfalls R9). */
  async #endSession(id: DeviceId, broker: BrokerTarget): Promise<boolean> {
    if (isReservedDeviceId(id)) return false;
    const connection = new BrokerConnection({ broker, clientId: id, sessionExpirySeconds: 0 });
    try {
      await connection.whenReady(BROKER_TIMEOUT_MS);
      return true;
    } finally {
      await connection.close(0);
    }
  }

  async #keep(report: DecommissionReport): Promise<void> {
    const values = {
      state: report.state,
      report: report as unknown as Prisma.InputJsonObject,
      requestedAt: new Date(report.requestedAt),
      verifiedAt: report.verifiedAt === null ? null : new Date(report.verifiedAt),
    };
    await this.#parts.database.$transaction([
      this.#parts.database.decommission.upsert({
        where: { device: report.device },
        create: { device: report.device, ...values },
        update: values,
      }),
      ...(report.state === 'verified'
        ? [this.#parts.database.device.update({ where: { id: report.device }, data: { state: 'decommissioned' } })]
        : []),
    ]);
  }
}

/** A report as it was kept; those of earlier versions say nothing of accounts and sessions. */
function storedReport(report: unknown): DecommissionReport {
  return {
    account: { state: 'none', version: null, brokers: [] },
    sessions: [],
    ...(report as Omit<DecommissionReport, 'account' | 'sessions'>),
  };
}
