import {
  ownableTopics,
  type DecommissionPreview,
  type DecommissionReport,
  type Device,
  type DeviceId,
  type DeviceInfo,
  type TopicMap,
} from '@muster/contract';
import type { BrokerTarget } from '@muster/broker';
import { TOMBSTONE_CHANNEL, whenTombstonesApplied, type Prisma, type PrismaClient } from '@muster/database';
import type { AccountStore } from '@muster/security';
import { ProblemError, type Logger } from '@muster/service';
import type { Credentials } from './credentials.ts';
import { clearTraces, findTraces, type TraceScope } from './device-traces.ts';
import { decommissionReport, type SharedTopic } from './retained-proof.ts';

const SERVICES_LIMIT_MS = 6_000;
const RESUME_EVERY_MS = 2_000;
const MAX_RESUMED = 4;
const FIRST_PAUSE_MS = 2_000;
const LONGEST_PAUSE_MS = 60_000;

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

/** A decommissioning that is on record. */
interface Begun {
  readonly device: Pick<Device, 'info'>;
  /** The newest version of the accounts, in which the device has none. */
  readonly version: bigint;
  /** Whether it had one until now. */
  readonly revoked: boolean;
  /** The report so far. */
  readonly first: DecommissionReport;
}

/** An attempt under way. */
interface Attempt {
  /** The report so far, as soon as it is on record. */
  readonly begun: Promise<DecommissionReport>;
  readonly done: Promise<DecommissionReport>;
}

/**
 * Takes devices out of service for good (the order of mqtt-pitfalls R13): a tombstone first, and its account away, so
 * that it is disconnected and not let in again, and every service refuses what still comes; then its session is ended,
 * and every retained message of the device is found, cleared and looked for again over a fresh connection, on every
 * broker. What is begun is on record and goes on by itself, also in another process, until it is verified. History in
 * InfluxDB stays.
 */
export class Decommissioning {
  /** One run a device at a time: a second call shares the first one's result. */
  readonly #running = new Map<DeviceId, Attempt>();
  /** Of those that are not verified yet: when to go on, and the pause after that. */
  readonly #pauses = new Map<string, { readonly untilMs: number; readonly pauseMs: number }>();
  readonly #parts: DecommissioningParts;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: DecommissioningParts) {
    this.#parts = parts;
  }

  /** Goes on with what is begun and not verified, now and whenever there is something. */
  start(): void {
    this.#timer = setInterval(() => void this.#resume(), RESUME_EVERY_MS);
  }

  /** Begins nothing more, and finishes the attempts under way. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.allSettled([...this.#running.values()].map(({ done }) => done));
  }

  /**
   * Decommissions a device, and answers with the report as it is when `waitMs` has passed. Called again it looks again:
   * the first report comes back where nothing reappeared, and what did reappear is cleared.
   * @throws ProblemError 404
   */
  async decommission(id: DeviceId, waitMs: number): Promise<DecommissionReport> {
    const { begun, done } = this.#attempt(id);
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<undefined>((resolve) => (timer = setTimeout(() => resolve(undefined), waitMs)));
    try {
      return (await Promise.race([done, limit])) ?? (await begun);
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * What decommissioning a device would do.
   * @throws ProblemError 404
   */
  async preview(id: DeviceId): Promise<DecommissionPreview> {
    const { brokers, accounts } = this.#parts;
    const scope = await this.#scope(id, await this.#device(id));
    const found = await Promise.all(brokers.map((broker) => findTraces(broker, scope)));
    return {
      device: id,
      hasAccount: await accounts.has(id),
      filters: [...scope.filters],
      wouldClear: found.flatMap(({ before }) => before),
      wouldKeep: [...new Map(found.flatMap(({ kept }) => kept.map((one) => [one.topic, one] as const))).values()],
      faults: found.flatMap(({ broker, fault }) => (fault === undefined ? [] : [`${broker}: ${fault}`])),
    };
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

  async #device(id: DeviceId): Promise<Pick<Device, 'info'>> {
    const device = await this.#parts.database.device.findUnique({ where: { id } });
    if (device === null) throw new ProblemError(404, `no device ${id} has been heard or registered`);
    return { info: device.info as DeviceInfo | null };
  }

  #attempt(id: DeviceId): Attempt {
    const running = this.#running.get(id);
    if (running !== undefined) return running;
    const beginning = this.#begin(id);
    const attempt = {
      begun: beginning.then(({ first }) => first),
      done: beginning.then((begun) => this.#finish(id, begun)).finally(() => this.#running.delete(id)),
    };
    // Nobody may be waiting any more: of what failed, also at the beginning, the log tells, and the next attempt mends it.
    attempt.begun.catch(() => undefined);
    attempt.done.catch((error: unknown) => {
      if (error instanceof ProblemError) return;
      this.#parts.logger.warn({ err: error, device: id }, 'decommissioning is tried again');
    });
    this.#running.set(id, attempt);
    return attempt;
  }

  async #resume(): Promise<void> {
    const { database, logger } = this.#parts;
    try {
      const left = await database.decommission.findMany({ where: { state: 'incomplete' }, select: { device: true } });
      const isLeft = new Set(left.map(({ device }) => device));
      for (const device of this.#pauses.keys()) if (!isLeft.has(device)) this.#pauses.delete(device);
      for (const { device } of left) {
        if (this.#running.size >= MAX_RESUMED) return;
        const nowMs = Date.now();
        const { untilMs, pauseMs } = this.#pauses.get(device) ?? { untilMs: 0, pauseMs: FIRST_PAUSE_MS };
        if (untilMs > nowMs || this.#running.has(device as DeviceId)) continue;
        this.#pauses.set(device, {
          untilMs: nowMs + pauseMs,
          pauseMs: Math.min(pauseMs * 2, LONGEST_PAUSE_MS),
        });
        this.#attempt(device as DeviceId);
      }
    } catch (error) {
      logger.warn({ err: error }, 'which decommissionings are not verified yet could not be read');
    }
  }

  async #finish(id: DeviceId, { device, version, revoked, first }: Begun): Promise<DecommissionReport> {
    const { database, logger, brokers } = this.#parts;
    const requestedAt = new Date(first.requestedAt);
    const [services, account] = await Promise.all([
      whenTombstonesApplied(database, SERVICES_LIMIT_MS),
      this.#account(id, { version, revoked }, first),
    ]);
    const scope = await this.#scope(id, device);
    // What a service still takes from the device could come back as soon as it is cleared.
    const isRefused = services.every(({ applied }) => applied);
    const proofs = await Promise.all(
      (isRefused ? brokers : []).map((broker) =>
        clearTraces(broker, scope, (error) =>
          logger.warn({ err: error, device: id, broker: broker.name }, 'decommissioning could not finish on a broker'),
        ),
      ),
    );
    const { filters } = scope;
    const report = decommissionReport({ device: id, requestedAt, now: new Date(), services, account, filters, proofs });
    if (first.state === 'verified' && report.state === 'verified' && report.before.length === 0) return first;
    const merged = {
      ...report,
      before: [...first.before, ...report.before],
      cleared: [...first.cleared, ...report.cleared],
    };
    await this.#keep(merged);
    logger.info({ device: id, state: merged.state, cleared: merged.cleared.length }, 'decommissioned');
    return merged;
  }

  /**
   * From here on no service takes the device for a new one, and the decommissioning is on record.
   * @throws ProblemError 404
   */
  async #begin(id: DeviceId): Promise<Begun> {
    const { database, accounts, managed } = this.#parts;
    const device = await this.#device(id);
    return database.$transaction(async (transaction) => {
      // First, as credentials do: the two wait for each other, and whoever comes second sees what the first did.
      await transaction.device.updateMany({
        where: { id, state: { in: ['discovered', 'registered'] } },
        data: { state: 'decommissioning' },
      });
      await transaction.tombstone.createMany({ data: [{ device: id }], skipDuplicates: true });
      await transaction.$executeRaw`SELECT pg_notify(${TOMBSTONE_CHANNEL}, ${id})`;
      const revoked = await accounts.revoke(transaction, id);
      const version = revoked ?? (await accounts.versionIn(transaction));
      const requestedAt = new Date();
      const empty = decommissionReport({
        ...{ device: id, requestedAt, now: requestedAt, services: [], filters: [], proofs: [] },
        account: {
          state: !managed ? 'external' : revoked === undefined ? 'none' : 'revoked',
          ...{ version: managed ? Number(version) : null, brokers: [] },
        },
      });
      const { report } = await transaction.decommission.upsert({
        where: { device: id },
        create: { device: id, state: empty.state, report: empty, requestedAt },
        update: {},
      });
      return { device, version, revoked: revoked !== undefined, first: storedReport(report) };
    });
  }

  /** Waits until the brokers have accounts without this one; a later attempt goes on where an earlier one could not. */
  async #account(
    id: DeviceId,
    { version, revoked }: { readonly version: bigint; readonly revoked: boolean },
    first: DecommissionReport,
  ): Promise<DecommissionReport['account']> {
    if (!this.#parts.managed) return { state: 'external', version: null, brokers: [] };
    const { brokers } = await this.#parts.credentials.revocation(id, version);
    const state = revoked || first.account.state === 'revoked' ? 'revoked' : 'none';
    return { state, version: Number(version), brokers };
  }

  async #scope(id: DeviceId, { info }: Pick<Device, 'info'>): Promise<TraceScope> {
    const { topicMap } = this.#parts;
    const owned = ownableTopics(id, info?.topics ?? [], topicMap);
    const others = [...(await this.#othersClaims(id)), ...(await this.#othersByName(id, owned))];
    return { device: id, filters: [...new Set([...topicMap.deviceFilters(id), ...owned])], others };
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

/** A report as it was kept; those of earlier versions say nothing of accounts, services and sessions. */
function storedReport(report: unknown): DecommissionReport {
  return {
    account: { state: 'none', version: null, brokers: [] },
    services: [],
    sessions: [],
    ...(report as Omit<DecommissionReport, 'account' | 'services' | 'sessions'>),
  };
}
