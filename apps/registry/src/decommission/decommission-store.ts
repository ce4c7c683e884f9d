import {
  ownableTopics,
  type DecommissionReport,
  type DeviceId,
  type DeviceInfo,
  type TopicMap,
} from '@muster/contract';
import { appendEvents, TOMBSTONE_CHANNEL, type NewEvent, type Prisma, type PrismaClient } from '@muster/database';
import type { AccountStore, BrokerSaves, ReportSigner } from '@muster/security';
import type { AccountTrials } from '../access/account-trials.ts';
import { ownersInService } from '../retained/topic-ownership.ts';
import { newReport } from './decommission-report.ts';
import { storedReport, withBrokers } from './stored-report.ts';
import type { TraceScope } from './device-traces.ts';

/** What the store is made of. */
export interface DecommissionStoreParts {
  readonly database: PrismaClient;
  readonly accounts: AccountStore;
  readonly trials: AccountTrials;
  readonly saves: BrokerSaves;
  readonly signer: ReportSigner;
  readonly topicMap: TopicMap;
  readonly brokers: readonly string[];
  /** Whether the brokers take their accounts from Muster. */
  readonly managed: boolean;
}

/** A decommissioning as it stands. */
export interface OpenDecommission {
  readonly report: DecommissionReport;
  readonly info: DeviceInfo | null;
  /** When brokers have written to disk what the verification saw; UTC. */
  readonly savedAt: ReadonlyMap<string, string>;
}

/** Whether a decommissioning has no step any more that goes on by itself. */
export function isAtRest(report: DecommissionReport, managed: boolean): boolean {
  return report.state === 'done' || (report.state === 'verified' && !managed);
}

/** Decommissionings in the database. */
export class DecommissionStore {
  readonly #parts: DecommissionStoreParts;

  constructor(parts: DecommissionStoreParts) {
    this.#parts = parts;
  }

  /**
   * Begins to decommission devices, all in one transaction: from here on no service takes them for new ones, their
   * passwords are refused, and the decommissionings are on record. Answers a report for each that is known; of those
   * that were begun before as it stands.
   */
  async begin(devices: readonly DeviceId[]): Promise<ReadonlyMap<DeviceId, DecommissionReport>> {
    const { database, trials } = this.#parts;
    const passwords = trials.prepare(devices);
    const { reports, tried } = await database.$transaction((transaction) =>
      this.#begin(transaction, devices, passwords),
    );
    trials.remember(passwords, tried);
    return reports;
  }

  async #begin(
    transaction: Prisma.TransactionClient,
    devices: readonly DeviceId[],
    passwords: ReadonlyMap<DeviceId, string>,
  ): Promise<{ reports: ReadonlyMap<DeviceId, DecommissionReport>; tried: readonly DeviceId[] }> {
    const { accounts, managed } = this.#parts;
    // First, as credentials do: the two wait for each other, and whoever comes second sees what the first did.
    const known = await transaction.$queryRaw<{ id: DeviceId; info: DeviceInfo | null }[]>`
      SELECT id, info FROM device WHERE id = ANY(${[...devices]}::text[]) ORDER BY id FOR UPDATE`;
    const earlier = await transaction.decommission.findMany({ where: { device: { in: [...devices] } } });
    const reports = new Map(earlier.map((row) => [row.device as DeviceId, storedReport(row.report)]));
    const fresh = known.filter(({ id }) => !reports.has(id));
    if (fresh.length === 0) return { reports, tried: [] };
    const ids = fresh.map(({ id }) => id);
    await transaction.device.updateMany({
      where: { id: { in: ids } },
      data: { state: 'decommissioning', archivedFrom: null },
    });
    await transaction.tombstone.createMany({ data: ids.map((device) => ({ device })), skipDuplicates: true });
    await transaction.$executeRaw`SELECT pg_notify(${TOMBSTONE_CHANNEL}, '')`;
    const own = new Map(ids.map((id) => [id, passwords.get(id) ?? '']));
    const { devices: tried } = managed ? await accounts.putTrials(transaction, own, 'left-out') : { devices: [] };
    const hadAccount = new Set<DeviceId>(tried);
    const now = new Date();
    const made = fresh.map(({ id, info }) =>
      newReport({
        ...{ device: id, now, managed, brokers: this.#parts.brokers, filters: this.#filters(id, info) },
        hadAccount: hadAccount.has(id),
      }),
    );
    const rows = made.map((report) => ({ device: report.device, report }));
    await transaction.$executeRaw`
      INSERT INTO decommission (device, state, report, requested_at)
      SELECT device, report ->> 'state', report, ${now}
      FROM jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) AS row(device text, report jsonb)`;
    await appendEvents(
      transaction,
      made.flatMap(({ device, state }): NewEvent[] => [
        { kind: 'device', device, data: { change: 'decommissioning' } },
        { kind: 'decommission', device, data: { state } },
      ]),
    );
    for (const report of made) reports.set(report.device, report);
    return { reports, tried };
  }

  /** The report of a device's decommissioning, if there is one. */
  async find(device: DeviceId): Promise<DecommissionReport | undefined> {
    const row = await this.#parts.database.decommission.findUnique({ where: { device } });
    return row === null ? undefined : storedReport(row.report);
  }

  /** Decommissionings as they stand. */
  async open(devices: readonly DeviceId[]): Promise<readonly OpenDecommission[]> {
    const rows = await this.#parts.database.$queryRaw<
      { report: unknown; info: DeviceInfo | null; saved: Readonly<Record<string, string>> }[]
    >`
      SELECT decommission.report, device.info,
             coalesce((SELECT jsonb_object_agg(broker, to_char(saved_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))
                       FROM broker_agent WHERE saved_at >= decommission.save_requested_at), '{}'::jsonb) AS saved
      FROM decommission LEFT JOIN device ON device.id = decommission.device
      WHERE decommission.device = ANY(${[...devices]}::text[])`;
    return rows.map(({ report, info, saved }) => ({
      report: withBrokers(storedReport(report), this.#parts.brokers),
      info,
      savedAt: new Map(Object.entries(saved)),
    }));
  }

  /** Those that are not verified yet. */
  async incomplete(): Promise<readonly DeviceId[]> {
    const { decommission } = this.#parts.database;
    const rows = await decommission.findMany({ where: { state: 'incomplete' }, select: { device: true } });
    return rows.map(({ device }) => device as DeviceId);
  }

  /**
   * Those that are verified and have something to go on with: their brokers have all written that to disk, or they were
   * verified on others than there are now.
   */
  async saved(limit: number): Promise<readonly DeviceId[]> {
    const brokers = [...this.#parts.brokers];
    const rows = await this.#parts.database.$queryRaw<{ device: DeviceId }[]>`
      SELECT device FROM decommission WHERE state = 'verified' AND (
        save_requested_at <=
          (SELECT min(coalesce(saved_at, '-infinity')) FROM unnest(${brokers}::text[]) AS own(broker)
           LEFT JOIN broker_agent ON broker_agent.broker = own.broker)
        OR NOT report -> 'brokers' @> ${JSON.stringify(brokers)}::jsonb)
      ORDER BY save_requested_at LIMIT ${limit}`;
    return rows.map(({ device }) => device);
  }

  /** Whether some are verified and not saved; what an earlier version has verified is asked to be saved, too. */
  async awaitsSaves(): Promise<boolean> {
    const { database, saves, brokers } = this.#parts;
    const [left] = await database.$queryRaw<{ unasked: boolean; verified: boolean }[]>`
      SELECT count(*) > 0 AS verified, count(*) > count(save_requested_at) AS unasked
      FROM decommission WHERE state = 'verified'`;
    if (left?.unasked === true)
      await database.$transaction(async (transaction) => {
        const now = await saves.request(transaction, brokers);
        await transaction.$executeRaw`
          UPDATE decommission SET save_requested_at = ${now}::timestamptz
          WHERE state = 'verified' AND save_requested_at IS NULL`;
      });
    return left?.verified === true;
  }

  /**
   * Keeps reports, signed from the verification on, and answers them. With the verification the brokers are asked to
   * write to disk what they hold. One that was undone meanwhile stays undone.
   */
  async keep(reports: readonly DecommissionReport[]): Promise<readonly DecommissionReport[]> {
    if (reports.length === 0) return [];
    const { database, saves, signer, brokers, managed } = this.#parts;
    const signed = reports.map((report) => (report.state === 'incomplete' ? report : signer.sign(report)));
    const rows = signed.map((report) => ({
      ...{ device: report.device, state: report.state, verified_at: report.verifiedAt, report },
      asks: managed && report.state === 'verified' && report.verification.every(({ savedAt }) => savedAt === null),
    }));
    await database.$transaction(async (transaction) => {
      const now = rows.some(({ asks }) => asks) ? await saves.request(transaction, brokers) : null;
      await appendEvents(transaction, await this.#changes(transaction, signed));
      await transaction.$executeRaw`
        UPDATE decommission SET state = row.state, report = row.report, verified_at = row.verified_at,
               save_requested_at = CASE WHEN row.asks THEN ${now}::timestamptz ELSE decommission.save_requested_at END
        FROM jsonb_to_recordset(${JSON.stringify(rows)}::jsonb)
          AS row(device text, state text, verified_at timestamptz, report jsonb, asks boolean)
        WHERE decommission.device = row.device`;
      const verified = signed.flatMap(({ device, state }) => (state === 'incomplete' ? [] : [device]));
      if (verified.length > 0)
        await transaction.device.updateMany({
          where: { id: { in: verified }, state: 'decommissioning' },
          data: { state: 'decommissioned' },
        });
    });
    return signed;
  }

  /** What is news among reports that are about to be kept. */
  async #changes(
    transaction: Prisma.TransactionClient,
    reports: readonly DecommissionReport[],
  ): Promise<readonly NewEvent[]> {
    const before = await transaction.decommission.findMany({
      where: { device: { in: reports.map(({ device }) => device) } },
      select: { device: true, state: true },
    });
    const states = new Map<string, string>(before.map(({ device, state }) => [device, state]));
    return reports.flatMap(({ device, state }): NewEvent[] => {
      const known = states.get(device);
      if (known === undefined || known === state) return [];
      const changed: NewEvent = { kind: 'decommission', device, data: { state } };
      return known === 'incomplete' && state === 'verified'
        ? [changed, { kind: 'device', device, data: { change: 'decommissioned' } }]
        : [changed];
    });
  }

  #filters(id: DeviceId, info: DeviceInfo | null): readonly string[] {
    const { topicMap } = this.#parts;
    return [...new Set([...topicMap.deviceFilters(id), ...ownableTopics(id, info?.topics ?? [], topicMap)])];
  }

  /** Where traces of devices are, and what of them other devices in service own as well: that goes with the last owner. */
  async scopes(
    devices: readonly { readonly device: DeviceId; readonly info: DeviceInfo | null }[],
  ): Promise<ReadonlyMap<DeviceId, TraceScope>> {
    const { database, topicMap } = this.#parts;
    const filters = new Map(devices.map(({ device, info }) => [device, this.#filters(device, info)]));
    // Nobody else owns anything in a device's own subtree.
    const exact = [...filters.values()].flat().filter((filter) => !/[+#]/.test(filter));
    const owners = await ownersInService(database, topicMap, exact);
    return new Map([...filters].map(([device, own]) => [device, { device, filters: own, owners }]));
  }
}
