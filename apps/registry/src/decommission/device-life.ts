import type { Device, DeviceId, PurgeResult } from '@muster/contract';
import { appendEvents, TOMBSTONE_CHANNEL, type Prisma, type PrismaClient } from '@muster/database';
import { ProblemError, type Logger } from '@muster/service';
import { HistoryError, type TelemetryHistory } from '@muster/telemetry';
import { storedReport } from './stored-report.ts';
import { isAtRest } from './decommission-store.ts';
import type { Devices } from '../devices/devices.ts';

/** Whether an alert is the device's, over, and nobody is left to be told of its end: alerting is done with it. */
const ENDED_ALERT = `device = $1 AND state = 'resolved' AND id NOT IN (SELECT alert FROM alert_told)`;
/** Whether a notification was told, and tells of this device's alerts alone. */
const TOLD_NOTIFICATION = `due_at IS NULL AND kind = 'alerts' AND content ->> 'omitted' = '0'
  AND jsonb_array_length(content -> 'alerts') > 0 AND NOT EXISTS (
    SELECT 1 FROM jsonb_array_elements(content -> 'alerts') AS told
    WHERE told ->> 'id' NOT IN (SELECT id FROM alert WHERE ${ENDED_ALERT}))`;

/** Tables with rows of a device, and which they are; each before the rows that it is found by, the device itself last. */
const TABLES = [
  ['last_reading', 'device = $1'],
  ['device_activity', 'device = $1'],
  ['boot_time', 'device = $1'],
  ['dead_letter', 'device = $1'],
  ['dead_letter_message', 'device = $1'],
  ['presence_transition', 'device = $1'],
  ['presence', 'device = $1'],
  ['device_command', 'device = $1'],
  ['device_config_broker', 'device = $1'],
  ['device_config', 'device = $1'],
  ['device_replacement', 'device = $1'],
  ['device_group_member', 'device = $1'],
  ['decommission_undone', 'device = $1'],
  ['delivery', `notification IN (SELECT id FROM notification WHERE ${TOLD_NOTIFICATION})`],
  ['notification', TOLD_NOTIFICATION],
  ['alert_event', `alert IN (SELECT id FROM alert WHERE ${ENDED_ALERT})`],
  ['alert', ENDED_ALERT],
  ['device', 'id = $1'],
] as const;
const PURGE_LIMIT_MS = 60_000;

const STATUS: Readonly<Record<HistoryError['code'], number>> = { unsupported: 409, refused: 409, unavailable: 503 };

/** What the life of a device beyond its service is made of. */
export interface DeviceLifeParts {
  readonly database: PrismaClient;
  readonly devices: Devices;
  /** Whether the brokers take their accounts from Muster. */
  readonly managed: boolean;
  /** Where telemetry is; undefined where the registry was not told. */
  readonly history: TelemetryHistory | undefined;
  /** Called with a device that is in service again after its decommissioning was undone: it is not connected. */
  readonly onRevived: (device: DeviceId) => Promise<void>;
  readonly logger: Logger;
}

interface LockedDevice {
  readonly state: Device['state'];
  readonly archived_from: Device['state'] | null;
}

/** Archives devices, brings them back, undoes decommissionings, and deletes histories. */
export class DeviceLife {
  readonly #parts: DeviceLifeParts;

  constructor(parts: DeviceLifeParts) {
    this.#parts = parts;
  }

  /**
   * Puts a device away: it is in no list, count or alert until it is restored. What it sends is stored as before.
   * @throws ProblemError 404; 409 while it is being decommissioned
   */
  async archive(id: DeviceId): Promise<Device> {
    const { database, devices, logger } = this.#parts;
    await database.$transaction(async (transaction) => {
      const { state } = await locked(transaction, id);
      if (state === 'archived') return;
      if (state === 'decommissioning')
        throw new ProblemError(409, `${id} is being decommissioned; archive it when it is done`);
      await transaction.device.update({ where: { id }, data: { state: 'archived', archivedFrom: state } });
      await appendEvents(transaction, [{ kind: 'device', device: id, data: { change: 'archived' } }]);
      logger.info({ device: id, from: state }, 'archived');
    });
    return devices.find(id);
  }

  /**
   * Takes the last thing back: an archived device is what it was before, a decommissioned one is in service again. Its
   * tombstone goes and its report is kept; it has no account until it is given one, and what was cleared stays cleared.
   * @throws ProblemError 404; 409 for a device in service, one whose decommissioning is under way, one whose history is deleted
   */
  async restore(id: DeviceId): Promise<Device> {
    const { database, devices, logger, onRevived } = this.#parts;
    // A step that is being put on record holds the row: who is refused anyway does not wait for it.
    const seen = await database.decommission.findUnique({ where: { device: id } });
    if (seen !== null && seen.purgedAt === null) this.#requireRest(id, seen.report);
    const isRevived = await database.$transaction(async (transaction) => {
      const decommission = await lockedDecommission(transaction, id);
      if (decommission !== null && decommission.purgedAt !== null)
        throw new ProblemError(
          409,
          `the history of ${id} was deleted at ${decommission.purgedAt.toISOString()}: there is no way back; its id stays silent, choose another for a new device`,
        );
      const { state, archived_from } = await locked(transaction, id);
      if (state === 'archived') {
        const back = archived_from ?? 'registered';
        await transaction.device.update({ where: { id }, data: { state: back, archivedFrom: null } });
      } else if (decommission !== null) {
        this.#requireRest(id, decommission.report);
        await transaction.tombstone.deleteMany({ where: { device: id } });
        await transaction.$executeRaw`SELECT pg_notify(${TOMBSTONE_CHANNEL}, '')`;
        await transaction.decommissionUndone.create({
          data: { device: id, report: decommission.report as Prisma.InputJsonObject },
        });
        await transaction.decommission.delete({ where: { device: id } });
        await transaction.device.update({ where: { id }, data: { state: 'registered' } });
      } else
        throw new ProblemError(
          409,
          `${id} is ${state}: there is nothing to restore; archive or decommission comes first`,
        );
      // What it is to go by is told to it again: the brokers have forgotten it, or it may have changed meanwhile.
      await transaction.deviceConfigBroker.updateMany({
        where: { device: id },
        data: { version: 0, nextAt: new Date(), attempts: 0 },
      });
      await appendEvents(transaction, [{ kind: 'device', device: id, data: { change: 'restored' } }]);
      logger.info({ device: id, from: state }, 'restored');
      return state !== 'archived';
    });
    if (isRevived) await onRevived(id);
    return devices.find(id);
  }

  /**
   * Deletes the history of a decommissioned device: its telemetry in InfluxDB, and its rows. Tombstone and report stay,
   * and after this there is no way back. Asked again, it deletes what an attempt that failed has left.
   * @throws ProblemError 404; 409 where the device is not decommissioned or InfluxDB cannot delete; 422 without the
   *   consent; 503 when InfluxDB does not answer
   */
  async purge(id: DeviceId, isWanted: boolean): Promise<PurgeResult> {
    const { database, history, logger } = this.#parts;
    if (!isWanted)
      throw new ProblemError(
        422,
        'nothing was deleted: a device is kept for its history. DELETE …?purgeHistory=true deletes that for good; decommissioning takes a device out of service, and archiving out of sight',
      );
    await this.#requirePurgeable(database, id);
    if (history === undefined)
      throw new ProblemError(
        409,
        'the registry was not told where InfluxDB is, so nothing was deleted; set MUSTER_INFLUXDB_URL, _USERNAME and _PASSWORD for it',
      );
    try {
      await history.generation();
      const purgedAt = await this.#beginPurge(id);
      const influxdb = await history.deleteDevice(id);
      const rows = await this.#deleteRows(id);
      logger.info({ device: id, rows }, 'history deleted');
      return { device: id, purgedAt: purgedAt.toISOString(), influxdb, rows };
    } catch (error) {
      if (!(error instanceof HistoryError)) throw error;
      throw new ProblemError(
        STATUS[error.code],
        `${error.message}${error.code === 'unavailable' ? '; ask again when it does' : ''}`,
      );
    }
  }

  /** From here on there is no way back, whatever fails, also for who restores the device at the same time. */
  async #beginPurge(id: DeviceId): Promise<Date> {
    return this.#parts.database.$transaction(async (transaction) => {
      await lockedDecommission(transaction, id);
      const purgedAt = await this.#requirePurgeable(transaction, id);
      await transaction.decommission.update({ where: { device: id }, data: { purgedAt } });
      return purgedAt;
    });
  }

  /** When the history was first deleted: now, where it was not. */
  async #requirePurgeable(database: Pick<PrismaClient, 'decommission' | 'device'>, id: DeviceId): Promise<Date> {
    const decommission = await database.decommission.findUnique({ where: { device: id } });
    const device = await database.device.findUnique({ where: { id } });
    if (decommission === null && device === null)
      throw new ProblemError(404, `no device ${id} has been heard or registered`);
    if (decommission === null)
      throw new ProblemError(
        409,
        `${id} is ${device?.state ?? 'unknown'}, and only the history of a decommissioned device can be deleted; decommission it first`,
      );
    this.#requireRest(id, decommission.report);
    return decommission.purgedAt ?? new Date();
  }

  #requireRest(id: DeviceId, kept: unknown): void {
    const report = storedReport(kept);
    if (isAtRest(report, this.#parts.managed)) return;
    const waits = report.notDone[0] === undefined ? '' : ` (${report.notDone[0]})`;
    throw new ProblemError(
      409,
      `the decommissioning of ${id} is between two steps${waits}; it goes on by itself, GET /api/v1/devices/${id}/decommission shows how far it is: ask again when it is done`,
    );
  }

  async #deleteRows(id: DeviceId): Promise<Record<string, number>> {
    const rows: Record<string, number> = {};
    await this.#parts.database.$transaction(
      async (transaction) => {
        for (const [table, condition] of TABLES)
          // Text of our own, from the list above.
          rows[table] = await transaction.$executeRawUnsafe(`DELETE FROM "${table}" WHERE ${condition}`, id);
      },
      { timeout: PURGE_LIMIT_MS },
    );
    return rows;
  }
}

/** A decommissioning, which nobody else undoes or makes final until the transaction ends. */
async function lockedDecommission(
  transaction: Prisma.TransactionClient,
  id: DeviceId,
): Promise<{ readonly purgedAt: Date | null; readonly report: unknown } | null> {
  await transaction.$queryRaw`SELECT 1 FROM decommission WHERE device = ${id} FOR UPDATE`;
  return transaction.decommission.findUnique({ where: { device: id } });
}

/** A device, which nobody else changes until the transaction ends. */
async function locked(transaction: Prisma.TransactionClient, id: DeviceId): Promise<LockedDevice> {
  const [device] = await transaction.$queryRaw<LockedDevice[]>`
    SELECT state, archived_from FROM device WHERE id = ${id} FOR UPDATE`;
  if (device === undefined) throw new ProblemError(404, `no device ${id} has been heard or registered`);
  return device;
}
