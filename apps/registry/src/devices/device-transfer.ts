import type {
  DeviceFileFormat,
  DeviceId,
  ExportedDevice,
  ImportedDevice,
  ImportFault,
  ImportResult,
  LifeState,
} from '@muster/contract';
import type { Prisma, PrismaClient } from '@muster/database';
import { ProblemError, type Logger } from '@muster/service';
import { tellChanged } from './bulk-changes.ts';
import { fileHead, fileRows, fileTail, readDeviceFile, type FileRow } from './device-file.ts';
import { BROKER_OF_DEVICE, SEARCHED_TABLES, searchCondition } from './device-search-sql.ts';
import { MAX_GROUPS } from './groups.ts';

const PAGE = 1_000;
const MAX_FAULTS = 100;
const TRANSACTION_LIMIT_MS = 60_000;

/** A device as the registry has it, as far as an import can change it. */
export interface KnownDevice {
  readonly id: DeviceId;
  readonly state: LifeState;
  readonly name: string | null;
  readonly description: string | null;
  readonly tags: readonly string[];
  readonly groups: readonly string[];
}

/** A device as an import leaves it. */
export type TargetDevice = Omit<KnownDevice, 'state'>;

/** What an import does with one row. */
export type RowPlan =
  | { readonly does: 'create' | 'update'; readonly target: TargetDevice }
  | { readonly does: 'nothing' }
  | { readonly does: 'refuse'; readonly reason: string };

/** What becomes of a device that a file names: what the file does not tell stays as it is. */
export function planOf(device: ImportedDevice, known: KnownDevice | undefined, isTombstoned: boolean): RowPlan {
  if (isTombstoned)
    return { does: 'refuse', reason: `${device.id} was decommissioned and must stay silent; take another id` };
  if (known !== undefined && known.state !== 'discovered' && known.state !== 'registered')
    return { does: 'refuse', reason: `${device.id} is ${known.state} and can no longer be changed` };
  const before = known ?? { name: null, description: null, tags: [], groups: [] };
  const target: TargetDevice = {
    id: device.id,
    name: device.name === undefined ? before.name : device.name,
    description: device.description === undefined ? before.description : device.description,
    tags: device.tags ?? before.tags,
    groups: device.groups ?? before.groups,
  };
  if (known === undefined) return { does: 'create', target };
  return isSame(known, target) ? { does: 'nothing' } : { does: 'update', target };
}

/** No description and an empty one are the same. */
function isSame(one: TargetDevice, other: TargetDevice): boolean {
  const key = ({ name, description, tags, groups }: TargetDevice): string =>
    JSON.stringify([name, description ?? '', tags, groups]);
  return key(one) === key(other);
}

/** A row with what becomes of it. */
interface PlannedRow {
  readonly line: number;
  readonly plan: RowPlan;
}

/** Devices into files, and out of them. */
export class DeviceTransfer {
  constructor(
    private readonly database: PrismaClient,
    private readonly logger: Logger,
  ) {}

  /**
   * The text of an export, a page at a time: each page is as the devices are when it is read.
   * @throws ContractError `invalid-search`, before the first piece
   */
  export(format: DeviceFileFormat, search: string): AsyncGenerator<string, void> {
    return this.#pieces(format, searchCondition(search));
  }

  async *#pieces(format: DeviceFileFormat, condition: Prisma.Sql): AsyncGenerator<string, void> {
    yield fileHead(format);
    for (let after = '', isLast = false; !isLast;) {
      const page = await this.database.$queryRaw<ExportedDevice[]>`
        SELECT device.id, device.name, device.description, device.tags,
               array(SELECT own."group" FROM device_group_member AS own WHERE own.device = device.id
                     ORDER BY own."group" COLLATE "C") AS groups,
               device.state, coalesce(presence.state, 'unknown') AS presence, device.info ->> 'model' AS model,
               device.info ->> 'firmware' AS firmware, ${BROKER_OF_DEVICE} AS broker
        FROM ${SEARCHED_TABLES} WHERE ${condition} AND device.id COLLATE "C" > ${after}
        ORDER BY device.id COLLATE "C" LIMIT ${PAGE}`;
      yield fileRows(format, page, after === '');
      isLast = page.length < PAGE;
      after = page.at(-1)?.id ?? after;
    }
    yield fileTail(format);
  }

  /**
   * Takes the devices of a file: all of them or none, or with `partial` those that can be taken.
   * @throws ProblemError 422 with the faults of each row where not all can be taken; then nothing has changed
   */
  async import(
    format: DeviceFileFormat,
    bytes: Uint8Array,
    { preview, partial }: { readonly preview: boolean; readonly partial: boolean },
  ): Promise<ImportResult> {
    const rows = readDeviceFile(format, bytes);
    const result = await this.database.$transaction(
      async (transaction) => {
        const planned = await planRows(transaction, rows);
        const faults = faultsOf(rows, planned);
        const refused = new Set(faults.map(({ line }) => line)).size;
        if (refused > 0 && !partial && !preview) throw refusal(rows.length, refused, faults);
        const targets = planned.flatMap(({ plan }) => ('target' in plan ? [plan.target] : []));
        const groupsCreated = await writeGroups(transaction, targets, preview);
        if (!preview) await writeDevices(transaction, targets);
        const count = (does: RowPlan['does']): number => planned.filter(({ plan }) => plan.does === does).length;
        return {
          preview,
          rows: rows.length,
          created: count('create'),
          updated: count('update'),
          unchanged: count('nothing'),
          refused,
          groupsCreated: [...groupsCreated],
          faults: faults.slice(0, MAX_FAULTS),
        };
      },
      { timeout: TRANSACTION_LIMIT_MS },
    );
    const { created, updated, refused } = result;
    if (!preview) this.logger.info({ created, updated, refused }, 'devices imported');
    return result;
  }
}

function faultsOf(rows: readonly FileRow[], planned: readonly PlannedRow[]): readonly ImportFault[] {
  return [
    ...rows.flatMap((row) => ('faults' in row ? row.faults : [])),
    ...planned.flatMap(({ line, plan }) =>
      plan.does === 'refuse' ? [{ line, path: 'id', message: plan.reason }] : [],
    ),
  ].sort((one, other) => one.line - other.line);
}

function refusal(rows: number, refused: number, faults: readonly ImportFault[]): ProblemError {
  const shown = faults.length > MAX_FAULTS ? `; the first ${MAX_FAULTS} faults are shown` : '';
  return new ProblemError(
    422,
    `${refused} of ${rows} rows cannot be taken, and nothing was imported: mend them, or take the others with partial=true${shown}`,
    faults.slice(0, MAX_FAULTS).map(({ line, path, message }) => ({ path, message, line })),
  );
}

type Transaction = Pick<PrismaClient, '$queryRaw' | '$executeRaw' | 'device' | 'tombstone' | 'deviceGroup'>;

async function planRows(transaction: Transaction, rows: readonly FileRow[]): Promise<readonly PlannedRow[]> {
  const devices = rows.flatMap((row) => ('device' in row ? [row] : []));
  const ids = devices.map(({ device }) => device.id);
  // In one order, as everybody who changes many devices: two of them must not wait for each other.
  const found = await transaction.$queryRaw<KnownDevice[]>`
    SELECT id, state, name, description, tags,
           array(SELECT own."group" FROM device_group_member AS own WHERE own.device = device.id
                 ORDER BY own."group" COLLATE "C") AS groups
    FROM device WHERE id = ANY (${ids}::text[]) ORDER BY id FOR NO KEY UPDATE`;
  const known = new Map(found.map((device) => [device.id, device]));
  const tombstones = await transaction.$queryRaw<{ device: string }[]>`
    SELECT device FROM tombstone WHERE device = ANY (${ids}::text[])`;
  const tombstoned = new Set(tombstones.map(({ device }) => device));
  return devices.map(({ line, device }) => ({
    line,
    plan: planOf(device, known.get(device.id), tombstoned.has(device.id)),
  }));
}

/** Makes the groups that are missing, or with `preview` only says which these are. */
async function writeGroups(
  transaction: Transaction,
  targets: readonly TargetDevice[],
  preview: boolean,
): Promise<readonly string[]> {
  const names = [...new Set(targets.flatMap(({ groups }) => groups))].sort();
  const there = await transaction.deviceGroup.findMany({ select: { name: true } });
  const isThere = new Set(there.map(({ name }) => name));
  const missing = names.filter((name) => !isThere.has(name));
  if (there.length + missing.length > MAX_GROUPS)
    throw new ProblemError(422, `the file would make ${missing.length} groups, and there are ${MAX_GROUPS} at most`);
  if (!preview && missing.length > 0)
    await transaction.$executeRaw`
      INSERT INTO device_group (name) SELECT name FROM unnest(${missing}::text[]) AS name ON CONFLICT DO NOTHING`;
  return missing;
}

async function writeDevices(transaction: Transaction, targets: readonly TargetDevice[]): Promise<void> {
  if (targets.length === 0) return;
  const devices = targets.map(({ id }) => id);
  await tellChanged(transaction, devices, true);
  // One that was discovered meanwhile is taken as the file has it, and one that was taken out of service is left alone.
  await transaction.$executeRaw`
    INSERT INTO device (id, state, name, description, tags, updated_at)
    SELECT id, 'registered', name, description, tags, now()
    FROM jsonb_to_recordset(${JSON.stringify(targets)}::jsonb)
      AS target(id text, name text, description text, tags text[])
    ORDER BY id
    ON CONFLICT (id) DO UPDATE SET state = 'registered', name = excluded.name, description = excluded.description,
      tags = excluded.tags, updated_at = excluded.updated_at
    WHERE device.state IN ('discovered', 'registered')`;
  const wanted = JSON.stringify(targets.flatMap(({ id, groups }) => groups.map((group) => ({ device: id, group }))));
  await transaction.$executeRaw`
    DELETE FROM device_group_member AS own
    WHERE device = ANY (${devices}::text[]) AND NOT EXISTS (
      SELECT 1 FROM jsonb_to_recordset(${wanted}::jsonb) AS wanted(device text, "group" text)
      WHERE wanted.device = own.device AND wanted."group" = own."group")`;
  await transaction.$executeRaw`
    INSERT INTO device_group_member ("group", device)
    SELECT "group", device FROM jsonb_to_recordset(${wanted}::jsonb) AS wanted(device text, "group" text)
    ON CONFLICT DO NOTHING`;
}
