import {
  ownableTopics,
  type DecommissionReport,
  type DeviceId,
  type DeviceInfo,
  type TopicMap,
} from '@muster/contract';
import { BrokerConnection, readRetained, type BrokerTarget } from '@muster/broker';
import { TOMBSTONE_CHANNEL, type Prisma, type PrismaClient } from '@muster/database';
import { ProblemError, type Logger } from '@muster/service';
import { decommissionReport, retainedMessage, split, type BrokerProof, type SharedTopic } from './retained-proof.ts';

const BROKER_TIMEOUT_MS = 5_000;

/**
 * Takes devices out of service for good: a tombstone first, then every retained message of the device is found, cleared
 * and looked for again over a fresh connection, on every broker. History in InfluxDB stays.
 */
export class Decommissioning {
  /** One run a device at a time: a second call shares the first one's result. */
  readonly #running = new Map<DeviceId, Promise<DecommissionReport>>();

  constructor(
    private readonly database: PrismaClient,
    private readonly brokers: readonly BrokerTarget[],
    private readonly topicMap: TopicMap,
    private readonly logger: Logger,
  ) {}

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
    const row = await this.database.decommission.findUnique({ where: { device: id } });
    if (row === null) throw new ProblemError(404, `${id} has not been decommissioned`);
    return row.report as DecommissionReport;
  }

  async #run(id: DeviceId): Promise<DecommissionReport> {
    const device = await this.database.device.findUnique({ where: { id } });
    if (device === null) throw new ProblemError(404, `no device ${id} has been heard or registered`);
    const earlier = await this.database.decommission.findUnique({ where: { device: id } });
    const requestedAt = earlier?.requestedAt ?? new Date();
    await this.#entomb(id);

    const owned = ownableTopics(id, (device.info as DeviceInfo | null)?.topics ?? [], this.topicMap);
    const others = [...(await this.#othersClaims(id)), ...(await this.#othersByName(id, owned))];
    const filters = [...new Set([...this.topicMap.deviceFilters(id), ...owned])];
    const proofs = await Promise.all(this.brokers.map((broker) => this.#clear(broker, filters, others)));
    const report = decommissionReport({ device: id, requestedAt, now: new Date(), filters, proofs });

    const first = earlier?.report as DecommissionReport | undefined;
    if (first?.state === 'verified' && report.state === 'verified' && report.before.length === 0) return first;
    const merged =
      first === undefined
        ? report
        : { ...report, before: [...first.before, ...report.before], cleared: [...first.cleared, ...report.cleared] };
    await this.#keep(merged);
    this.logger.info({ device: id, state: merged.state, cleared: merged.cleared.length }, 'decommissioned');
    return merged;
  }

  /** From here on no service takes the device for a new one. */
  async #entomb(id: DeviceId): Promise<void> {
    await this.database.$transaction([
      this.database.tombstone.createMany({ data: [{ device: id }], skipDuplicates: true }),
      this.database.device.updateMany({
        where: { id, state: { in: ['discovered', 'registered'] } },
        data: { state: 'decommissioning' },
      }),
      this.database.$executeRaw`SELECT pg_notify(${TOMBSTONE_CHANNEL}, ${id})`,
    ]);
  }

  /** Topics that other devices in service say they own: where this one owns them too, they are cleared with the last. */
  async #othersClaims(id: DeviceId): Promise<readonly SharedTopic[]> {
    const claims = await this.database.$queryRaw<{ owner: DeviceId; topics: string[] }[]>`
      SELECT id AS owner, array(SELECT jsonb_array_elements_text(info -> 'topics')) AS topics FROM device
      WHERE id <> ${id} AND state IN ('discovered', 'registered') AND jsonb_typeof(info -> 'topics') = 'array'`;
    return claims.flatMap(({ owner, topics }) =>
      ownableTopics(owner, topics, this.topicMap).map((topic) => ({ topic, owner })),
    );
  }

  /** Of the topics that this device says it owns, those that are another device's by its name. */
  async #othersByName(id: DeviceId, owned: readonly string[]): Promise<readonly SharedTopic[]> {
    const named = owned.flatMap((topic) => {
      const device = this.topicMap.match(topic)?.device;
      return device?.valid === true && device.id !== id ? [{ topic, owner: device.id }] : [];
    });
    const inService = await this.database.device.findMany({
      where: { id: { in: named.map(({ owner }) => owner) }, state: { in: ['discovered', 'registered'] } },
      select: { id: true },
    });
    return named.filter(({ owner }) => inService.some((device) => device.id === owner));
  }

  async #clear(broker: BrokerTarget, filters: readonly string[], others: readonly SharedTopic[]): Promise<BrokerProof> {
    const before: BrokerProof['before'][number][] = [];
    const cleared: BrokerProof['cleared'][number][] = [];
    try {
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
      return { broker: broker.name, before, cleared, after, kept, fault: undefined };
    } catch (error) {
      const fault = `not verified: ${error instanceof Error ? error.message : String(error)}; call again to go on`;
      this.logger.warn({ err: error, broker: broker.name }, 'decommissioning could not finish on a broker');
      return { broker: broker.name, before, cleared, after: [], kept: [], fault };
    }
  }

  async #keep(report: DecommissionReport): Promise<void> {
    const values = {
      state: report.state,
      report: report as unknown as Prisma.InputJsonObject,
      requestedAt: new Date(report.requestedAt),
      verifiedAt: report.verifiedAt === null ? null : new Date(report.verifiedAt),
    };
    await this.database.$transaction([
      this.database.decommission.upsert({
        where: { device: report.device },
        create: { device: report.device, ...values },
        update: values,
      }),
      ...(report.state === 'verified'
        ? [this.database.device.update({ where: { id: report.device }, data: { state: 'decommissioned' } })]
        : []),
    ]);
  }
}
