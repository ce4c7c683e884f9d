import {
  type DeviceId,
  type Replacement,
  type ReplacementBroker,
  type ReplacementList,
  type ReplacementReport,
} from '@muster/contract';
import { BrokerError, endSession, type BrokerTarget } from '@muster/broker';
import { appendEvents, type Prisma, type PrismaClient } from '@muster/database';
import type { AccountStore } from '@muster/security';
import { ProblemError, type Logger } from '@muster/service';
import type { Commands } from './commands.ts';
import type { Credentials } from '../access/credentials.ts';
import type { Downlink } from './downlink.ts';
import type { StandInWill } from '../access/stand-in-will.ts';
import { BrokerWaits } from './broker-waits.ts';

/** How often it is looked what is due. */
const RESUME_EVERY_MS = 2_000;
const APPLIED_LIMIT_MS = 1_000;
const CONNECT_TIMEOUT_MS = 5_000;
const LISTED = 100;

/** What replacing is made of. */
export interface ReplacementsParts {
  readonly database: PrismaClient;
  readonly accounts: AccountStore;
  readonly credentials: Credentials;
  readonly commands: Commands;
  readonly downlink: Downlink;
  readonly standInWill: StandInWill;
  readonly brokers: readonly BrokerTarget[];
  readonly logger: Logger;
}

interface Row {
  readonly id: bigint;
  readonly device: string;
  readonly accountVersion: bigint;
  readonly report: unknown;
}

/** What is done on every broker. */
export function isDone({ accountApplied, sessionEnded, infoCleared }: ReplacementBroker): boolean {
  return accountApplied && sessionEnded && infoCleared;
}

/** A report with what was done on the brokers since; complete when every broker has done it. */
export function reportAfter(
  report: ReplacementReport,
  done: readonly ReplacementBroker[],
  now: Date,
): ReplacementReport {
  const isComplete = done.every(isDone);
  return {
    ...report,
    state: isComplete ? 'complete' : 'incomplete',
    completedAt: isComplete ? now.toISOString() : null,
    brokers: [...done],
  };
}

/**
 * New hardware in the place of old: it has the id, the history and the configuration, and nothing that was meant for the
 * old one (mqtt-pitfalls R9). The order: password and record in one moment, then on each broker, when it refuses the old
 * password, the old session ended with all that was queued in it. Only then the new password is answered. A broker that
 * is away is done when it is back, also by another process.
 */
export class Replacements {
  readonly #parts: ReplacementsParts;
  /** Those that are being carried out, by their number. */
  readonly #running = new Map<bigint, Promise<ReplacementReport>>();
  /** Those that some broker has not done, by their number. */
  readonly #waits = new BrokerWaits<bigint>();
  #timer: NodeJS.Timeout | undefined;
  #isResuming = false;
  #closed = false;

  constructor(parts: ReplacementsParts) {
    this.#parts = parts;
    parts.downlink.onConnected((broker) => {
      this.#waits.back(broker, Date.now());
      if (this.#timer !== undefined) void this.#resume();
    });
  }

  /** Goes on with what some broker has not done: less and less often while it is away, and at once when it is back. */
  start(): void {
    this.#timer = setInterval(() => void this.#resume(), RESUME_EVERY_MS);
  }

  /** Begins nothing more, and finishes what is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#timer = undefined;
    await Promise.allSettled(this.#running.values());
  }

  /**
   * Replaces the hardware of a device. Called again, as after a crash, it gives yet another password and goes on with
   * what is not complete.
   * @throws ProblemError 404; 409 for a device that is gone, and where accounts are managed elsewhere
   */
  async replace(device: DeviceId, by: string): Promise<Replacement> {
    const { database, accounts, credentials, commands, standInWill, logger } = this.#parts;
    const found = await database.device.findUnique({ where: { id: device }, select: { state: true } });
    if (found === null) throw new ProblemError(404, `no device ${device} has been heard or registered`);
    if (found.state !== 'discovered' && found.state !== 'registered')
      throw new ProblemError(
        409,
        found.state === 'archived'
          ? `${device} is archived: restore it first`
          : `${device} is ${found.state}: its id stays silent; give the new hardware another one`,
      );
    // Of the last transaction that was committed.
    let begun: { readonly row: Row; readonly cancelled: readonly string[] } | undefined;
    const rotate = await accounts.has(device);
    const issued = await credentials.issue(device, { rotate }, async (transaction, version) => {
      const cancelled = await commands.cancelAll(transaction, device, `the hardware was replaced by ${by}`);
      begun = { cancelled, row: await this.#begin(transaction, device, { by, version, cancelled: cancelled.length }) };
    });
    if (begun === undefined) throw new Error('an account was issued without what belongs to it');
    commands.ended(begun.cancelled);
    this.#waits.forget(begun.row.id);
    // What was decided before may still be on its way into the session that is ended next.
    await commands.whenQuiet(device);
    const report = await this.#run(begun.row);
    await standInWill.publish([device], 'shutdown');
    // What the old hardware said until it was disconnected; the new one has had no password to say anything yet.
    await this.#forgetConfig(database, device);
    logger.info({ device, state: report.state, cancelled: report.commandsCancelled }, 'hardware replaced');
    return { credentials: issued, report };
  }

  /**
   * Every replacement of a device.
   * @throws ProblemError 404
   */
  async list(device: DeviceId): Promise<ReplacementList> {
    const { database } = this.#parts;
    const found = await database.device.findUnique({
      where: { id: device },
      select: { replacedAt: true, replacements: true },
    });
    if (found === null) throw new ProblemError(404, `no device ${device} has been heard or registered`);
    const rows = await database.deviceReplacement.findMany({
      where: { device },
      orderBy: { id: 'desc' },
      take: LISTED,
      select: { report: true },
    });
    return {
      count: found.replacements,
      replacedAt: found.replacedAt?.toISOString() ?? null,
      items: rows.map(({ report }) => report as unknown as ReplacementReport),
    };
  }

  async #begin(
    transaction: Prisma.TransactionClient,
    device: DeviceId,
    { by, version, cancelled }: { readonly by: string; readonly version: bigint; readonly cancelled: number },
  ): Promise<Row> {
    const now = new Date();
    const open = await transaction.deviceReplacement.findFirst({
      where: { device, state: 'incomplete' },
      orderBy: { id: 'desc' },
    });
    const before = open === null ? 0 : (open.report as unknown as ReplacementReport).commandsCancelled;
    const report: ReplacementReport = {
      ...{ device, state: 'incomplete', by, completedAt: null },
      requestedAt: (open?.createdAt ?? now).toISOString(),
      commandsCancelled: before + cancelled,
      brokers: this.#parts.brokers.map(({ name }) => pending(name)),
    };
    await this.#forgetConfig(transaction, device);
    await transaction.device.update({
      where: { id: device },
      data: { replacedAt: now, ...(open === null ? { replacements: { increment: 1 } } : {}) },
    });
    await appendEvents(transaction, [{ kind: 'device', device, data: { change: 'changed' } }]);
    const values = { by, accountVersion: version, report };
    return open === null
      ? transaction.deviceReplacement.create({ data: { device, createdAt: now, ...values } })
      : transaction.deviceReplacement.update({ where: { id: open.id }, data: values });
  }

  /** Until the new hardware says what it goes by, nobody knows. */
  async #forgetConfig(database: Pick<PrismaClient, '$executeRaw'>, device: DeviceId): Promise<void> {
    await database.$executeRaw`UPDATE device SET info = info - 'config', updated_at = now() WHERE id = ${device}`;
  }

  async #resume(): Promise<void> {
    const { database, logger } = this.#parts;
    if (this.#isResuming) return;
    this.#isResuming = true;
    try {
      const rows = await database.deviceReplacement.findMany({
        where: { state: 'incomplete' },
        orderBy: { id: 'asc' },
      });
      this.#waits.keep(new Set(rows.map(({ id }) => id)));
      for (const row of rows) {
        const isDue = this.#waits.isDue(row.id, Date.now());
        if (isDue && !this.#closed && !this.#running.has(row.id)) await this.#run(row);
      }
    } catch (error) {
      logger.warn({ err: error }, 'replacements that are not complete wait');
    } finally {
      this.#isResuming = false;
    }
  }

  /** Goes on with a replacement; one at a time of each. */
  async #run(row: Row): Promise<ReplacementReport> {
    await this.#running.get(row.id);
    const run = this.#finish(row);
    this.#running.set(row.id, run);
    try {
      return await run;
    } finally {
      if (this.#running.get(row.id) === run) this.#running.delete(row.id);
    }
  }

  async #finish({ id, device, accountVersion, report: stored }: Row): Promise<ReplacementReport> {
    const { database, brokers } = this.#parts;
    const report = stored as ReplacementReport;
    const beganMs = Date.now();
    const done = await Promise.all(
      brokers.map(async (broker) => {
        const before = report.brokers.find((one) => one.broker === broker.name) ?? pending(broker.name);
        return isDone(before) ? before : this.#onBroker(broker, device as DeviceId, accountVersion, before);
      }),
    );
    const left = done.filter((one) => !isDone(one)).map(({ broker }) => broker);
    this.#waits.tried(id, left, beganMs, Date.now());
    const after = reportAfter(report, done, new Date());
    // A later request has another version of the accounts, and its own report.
    await database.deviceReplacement.updateMany({
      where: { id, accountVersion },
      data: {
        ...{ report: after, state: after.state },
        completedAt: after.completedAt,
      },
    });
    return after;
  }

  async #onBroker(
    broker: BrokerTarget,
    device: DeviceId,
    version: bigint,
    before: ReplacementBroker,
  ): Promise<ReplacementBroker> {
    const { accounts, downlink, logger } = this.#parts;
    const [applied] = await accounts.whenApplied([broker.name], version, APPLIED_LIMIT_MS);
    // With the old password the old hardware would be back at once, with a new session.
    if (applied?.applied !== true) return { ...before, fault: 'its agent has not taken the new password yet' };
    let sessionEnded = before.sessionEnded;
    try {
      if (!sessionEnded) {
        const { reasonCode } = await endSession(broker, device, CONNECT_TIMEOUT_MS);
        sessionEnded = reasonCode === 0;
        if (!sessionEnded)
          return {
            ...before,
            accountApplied: true,
            fault: `the old session could not be ended, reason code ${reasonCode}`,
          };
      }
      const { outcome } = await downlink.publish(broker.name, {
        ...{ topic: `devices/${device}/info`, payload: '', retain: true },
      });
      const infoCleared = outcome === 'taken' || outcome === 'unsubscribed';
      const fault = infoCleared ? null : `what the old hardware said about itself could not be cleared: ${outcome}`;
      return { ...before, accountApplied: true, sessionEnded, infoCleared, fault };
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
      logger.warn({ device, broker: broker.name, reason: error.message }, 'a replacement waits for a broker');
      return { ...before, accountApplied: true, sessionEnded, fault: error.message };
    }
  }
}

function pending(broker: string): ReplacementBroker {
  return { broker, accountApplied: false, sessionEnded: false, infoCleared: false, fault: 'not begun' };
}
