import {
  MAX_BULK_DEVICES,
  MAX_PREVIEWED,
  MAX_TAGS,
  type BulkRequest,
  type BulkResult,
  type BulkSkip,
  type DeviceId,
  type LifeState,
} from '@muster/contract';
import { appendEvents, Prisma, type NewEvent, type PrismaClient } from '@muster/database';
import { ProblemError, type Logger } from '@muster/service';
import type { Decommissioning } from '../decommission/decommissioning.ts';
import { SEARCHED_TABLES, searchCondition } from './device-search-sql.ts';

const TRANSACTION_LIMIT_MS = 30_000;
/** Decommissionings that are asked for together begin in one transaction. */
const BEGINNING_AT_ONCE = 250;

/** What a bulk action depends on, of one device. */
export interface BulkCandidate {
  readonly id: DeviceId;
  readonly state: LifeState;
  /** What an archived device was before. */
  readonly archivedFrom: LifeState | null;
  readonly tags: readonly string[];
  readonly groups: readonly string[];
}

/** Why an action leaves a device as it is; undefined where it changes it. */
export function skipOf(
  request: BulkRequest,
  { id, state, archivedFrom, tags, groups }: BulkCandidate,
): BulkSkip | undefined {
  const skip = (code: BulkSkip['code'], reason: string): BulkSkip => ({ device: id, code, reason });
  if (request.action === 'decommission' && (state === 'decommissioned' || archivedFrom === 'decommissioned'))
    return skip('unchanged', 'it is decommissioned');
  if (request.action === 'decommission' && state === 'decommissioning')
    return skip('unchanged', 'it is being decommissioned already');
  // What is out of sight may be taken out of service, as when it is asked for alone.
  if (request.action === 'decommission') return undefined;
  if (state !== 'discovered' && state !== 'registered')
    return skip('state', `it is ${state} and can no longer be changed`);
  switch (request.action) {
    case 'tag': {
      const added = request.tags.filter((tag) => !tags.includes(tag));
      if (added.length === 0) return skip('unchanged', 'it has these tags');
      if (tags.length + added.length > MAX_TAGS)
        return skip('too-many-tags', `it has ${tags.length} tags, and would have more than ${MAX_TAGS}`);
      return undefined;
    }
    case 'untag':
      return request.tags.some((tag) => tags.includes(tag))
        ? undefined
        : skip('unchanged', 'it has none of these tags');
    case 'group':
      return groups.includes(request.group) ? skip('unchanged', 'it is in this group') : undefined;
    case 'ungroup':
      return groups.includes(request.group) ? undefined : skip('unchanged', 'it is not in this group');
  }
}

type Transaction = Pick<PrismaClient, '$queryRaw' | '$executeRaw' | 'device'>;

/** What is to be changed, and what is not. */
interface Plan {
  readonly selected: number;
  readonly changing: readonly DeviceId[];
  readonly skips: readonly BulkSkip[];
}

/** Actions on many devices at once: all that can be changed are, or, where something does not add up, none. */
export class BulkChanges {
  constructor(
    private readonly database: PrismaClient,
    private readonly decommissioning: Decommissioning,
    private readonly logger: Logger,
  ) {}

  /**
   * Does what is asked for, or shows it.
   * @param onChanged is told every device that was changed, of which the answer has only the first; not in a preview
   * @throws ProblemError 404 without the group; 409 where more are selected than the limit, or another number than is
   * expected: then nothing has changed; ContractError `invalid-search`
   */
  async run(request: BulkRequest, onChanged: (devices: readonly DeviceId[]) => void): Promise<BulkResult> {
    const plan = await this.database.$transaction(
      async (transaction) => {
        const planned = await this.#plan(transaction, request);
        if (!request.preview) {
          refuseSurprise(request, planned.selected);
          await change(transaction, request, planned.changing);
        }
        return planned;
      },
      { timeout: TRANSACTION_LIMIT_MS },
    );
    const { failed, begun } =
      request.action === 'decommission' && !request.preview
        ? await this.#decommission(plan.changing)
        : { failed: [], begun: plan.changing };
    const skips = [...plan.skips, ...failed];
    if (!request.preview) {
      onChanged(begun);
      this.logger.info({ action: request.action, changed: begun.length, skipped: skips.length }, 'bulk action');
    }
    const showAll = !request.preview && request.action === 'decommission';
    return {
      action: request.action,
      preview: request.preview,
      selected: plan.selected,
      changed: begun.length,
      devices: showAll ? [...begun] : begun.slice(0, MAX_PREVIEWED),
      skipped: skips.length,
      skips: request.preview ? skips.slice(0, MAX_PREVIEWED) : skips,
      follow: request.action === 'decommission' ? '/api/v1/devices/{device}/decommission' : null,
    };
  }

  async #plan(transaction: Transaction, request: BulkRequest): Promise<Plan> {
    if ('group' in request && !(await holdGroup(transaction, request.group)))
      throw new ProblemError(404, `there is no group ${request.group}; POST /groups makes one`);
    const { select } = request;
    const condition = 'ids' in select ? Prisma.sql`device.id = ANY (${select.ids}::text[])` : searchCondition(select.q);
    // In one order, as everybody who changes many devices: two of them must not wait for each other.
    const candidates = await transaction.$queryRaw<BulkCandidate[]>`
      SELECT device.id, device.state, device.archived_from AS "archivedFrom", device.tags,
             array(SELECT own."group" FROM device_group_member AS own WHERE own.device = device.id) AS groups
      FROM ${SEARCHED_TABLES} WHERE ${condition} ORDER BY device.id LIMIT ${MAX_BULK_DEVICES + 1}
      ${request.preview ? Prisma.empty : Prisma.sql`FOR NO KEY UPDATE OF device`}`;
    if (candidates.length > MAX_BULK_DEVICES)
      throw new ProblemError(
        409,
        `more than ${MAX_BULK_DEVICES} devices are selected, the most for one action; nothing was changed: search for them in parts`,
      );
    const known = new Set<string>(candidates.map(({ id }) => id));
    const unknown = ('ids' in select ? select.ids : []).filter((id) => !known.has(id));
    const judged = candidates.map((candidate) => ({ id: candidate.id, skip: skipOf(request, candidate) }));
    return {
      selected: candidates.length + unknown.length,
      changing: judged.flatMap(({ id, skip }) => (skip === undefined ? [id] : [])),
      skips: [
        ...unknown.map((device): BulkSkip => ({
          device,
          code: 'unknown',
          reason: 'no such device has been heard or registered',
        })),
        ...judged.flatMap(({ skip }) => skip ?? []),
      ],
    };
  }

  /** Answers when each is on record, and so goes on by itself; what could not begin is told, and can be asked for again. */
  async #decommission(
    devices: readonly DeviceId[],
  ): Promise<{ begun: readonly DeviceId[]; failed: readonly BulkSkip[] }> {
    const first = await this.#begin(devices, BEGINNING_AT_ONCE);
    // What found no connection in time finds one alone.
    const again = await this.#begin(
      first.failed.map(({ device }) => device),
      1,
    );
    return { begun: [...first.begun, ...again.begun], failed: again.failed };
  }

  async #begin(
    devices: readonly DeviceId[],
    atOnce: number,
  ): Promise<{ begun: readonly DeviceId[]; failed: readonly BulkSkip[] }> {
    const begun: DeviceId[] = [];
    const failed: BulkSkip[] = [];
    const left = devices.values();
    const beginNext = async (): Promise<void> => {
      for (const device of left) {
        try {
          await this.decommissioning.decommission(device, 0);
          begun.push(device);
        } catch (error) {
          if (!(error instanceof ProblemError))
            this.logger.warn({ err: error, device }, 'a decommissioning of many could not begin');
          const reason = error instanceof ProblemError ? error.detail : 'it could not begin: see the log; ask again';
          failed.push({ device, code: 'failed', reason });
        }
      }
    };
    await Promise.all(Array.from({ length: atOnce }, beginNext));
    return { begun, failed };
  }
}

/** Whether there is such a group; it stays until the transaction ends. */
async function holdGroup(transaction: Transaction, name: string): Promise<boolean> {
  const rows = await transaction.$queryRaw<unknown[]>`SELECT 1 FROM device_group WHERE name = ${name} FOR KEY SHARE`;
  return rows.length > 0;
}

/** @throws ProblemError 409 */
function refuseSurprise({ limit, expect }: BulkRequest, selected: number): void {
  if (selected > limit)
    throw new ProblemError(
      409,
      `${selected} devices are selected, and the limit is ${limit}; nothing was changed: select fewer, or raise the limit`,
    );
  if (expect !== undefined && selected !== expect)
    throw new ProblemError(
      409,
      `${selected} devices are selected by now, and ${expect} were expected; nothing was changed: look at a new preview`,
    );
}

/** Changes all of them with one statement, or two. */
async function change(transaction: Transaction, request: BulkRequest, ids: readonly DeviceId[]): Promise<void> {
  if (ids.length === 0) return;
  const devices = [...ids];
  if (request.action !== 'decommission') await tellChanged(transaction, devices, request.action !== 'ungroup');
  switch (request.action) {
    case 'tag':
      await transaction.$executeRaw`
        UPDATE device SET state = 'registered', updated_at = now(),
          tags = array(SELECT DISTINCT tag COLLATE "C" FROM unnest(tags || ${request.tags}::text[]) AS tag ORDER BY 1)
        WHERE id = ANY (${devices}::text[])`;
      return;
    case 'untag':
      await transaction.$executeRaw`
        UPDATE device SET state = 'registered', updated_at = now(),
          tags = array(SELECT tag FROM unnest(tags) AS tag WHERE tag <> ALL (${request.tags}::text[]) ORDER BY tag COLLATE "C")
        WHERE id = ANY (${devices}::text[])`;
      return;
    case 'group':
      await transaction.$executeRaw`
        UPDATE device SET state = 'registered', updated_at = now() WHERE id = ANY (${devices}::text[]) AND state = 'discovered'`;
      await transaction.$executeRaw`
        INSERT INTO device_group_member ("group", device)
        SELECT ${request.group}, device FROM unnest(${devices}::text[]) AS device ON CONFLICT DO NOTHING`;
      return;
    case 'ungroup':
      await transaction.$executeRaw`
        DELETE FROM device_group_member WHERE "group" = ${request.group} AND device = ANY (${devices}::text[])`;
      return;
    case 'decommission':
      // It begins one by one, when what is selected stands.
      return;
  }
}

/**
 * Tells of devices that are about to be changed; those that were only discovered are registered with it.
 * @param registers whether the change registers them
 */
export async function tellChanged(
  transaction: Transaction,
  devices: readonly DeviceId[],
  registers: boolean,
): Promise<void> {
  const discovered = await transaction.device.findMany({
    where: { id: { in: [...devices] }, state: 'discovered' },
    select: { id: true },
  });
  const isDiscovered = new Set<string>(registers ? discovered.map(({ id }) => id) : []);
  await appendEvents(
    transaction,
    devices.map((device): NewEvent => ({
      ...{ kind: 'device', device },
      data: { change: isDiscovered.has(device) ? 'registered' : 'changed' },
    })),
  );
}
