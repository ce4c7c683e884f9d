import type { DeviceId, Group, GroupList, GroupPatch, GroupRequest } from '@muster/contract';
import { Prisma, type PrismaClient } from '@muster/database';
import { ProblemError } from '@muster/service';

/** There are at most so many groups. */
export const MAX_GROUPS = 1_000;

interface GroupRow {
  readonly name: string;
  readonly description: string | null;
  readonly created_at: Date;
  readonly devices: number;
}

function groupOf({ name, description, created_at: createdAt, devices }: GroupRow): Group {
  return { name, description, createdAt: createdAt.toISOString(), devices };
}

/** @throws ProblemError 409 where the name is taken; what failed otherwise */
function taken(name: string, error: unknown): never {
  if (error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002')
    throw new ProblemError(409, `there is a group ${name} already; take another name, or change that one with PATCH`);
  throw error;
}

/** The groups that devices are put together under. */
export class Groups {
  constructor(private readonly database: PrismaClient) {}

  /** All of them, in the order of their names. */
  async list(): Promise<GroupList> {
    return { items: (await this.#rows(Prisma.sql`true`)).map(groupOf) };
  }

  /**
   * One group.
   * @throws ProblemError 404
   */
  async find(name: string): Promise<Group> {
    const [row] = await this.#rows(Prisma.sql`device_group.name = ${name}`);
    if (row === undefined) throw new ProblemError(404, `there is no group ${name}; POST /groups makes one`);
    return groupOf(row);
  }

  /**
   * A new group.
   * @throws ProblemError 409
   */
  async create({ name, description }: GroupRequest): Promise<Group> {
    if ((await this.database.deviceGroup.count()) >= MAX_GROUPS)
      throw new ProblemError(409, `there are ${MAX_GROUPS} groups, and no more; tags have no such limit`);
    await this.database.deviceGroup
      .create({ data: { name, description } })
      .catch((error: unknown) => taken(name, error));
    return this.find(name);
  }

  /**
   * Another name or description; its devices stay in it.
   * @throws ProblemError 404, 409
   */
  async patch(name: string, patch: GroupPatch): Promise<Group> {
    const data = {
      ...(patch.name === undefined ? {} : { name: patch.name }),
      ...(patch.description === undefined ? {} : { description: patch.description }),
    };
    const newName = patch.name ?? name;
    await this.database.deviceGroup
      .updateMany({ where: { name }, data })
      .catch((error: unknown) => taken(newName, error));
    return this.find(newName);
  }

  /**
   * Removes a group; its devices stay.
   * @throws ProblemError 404
   */
  async remove(name: string): Promise<void> {
    const { count } = await this.database.deviceGroup.deleteMany({ where: { name } });
    if (count === 0) throw new ProblemError(404, `there is no group ${name}`);
  }

  /**
   * Puts a device into a group, where it may be already; a discovered one becomes a registered one.
   * @throws ProblemError 404; 409 for a device that is gone
   */
  async add(name: string, device: DeviceId): Promise<void> {
    await this.find(name);
    await this.database.$transaction(async (transaction) => {
      const { count } = await transaction.device.updateMany({
        where: { id: device, state: { in: ['discovered', 'registered'] } },
        data: { state: 'registered' },
      });
      if (count === 0) await this.#refuse(device);
      await transaction.$executeRaw`
        INSERT INTO device_group_member ("group", device)
        SELECT name, ${device} FROM device_group WHERE name = ${name} ON CONFLICT DO NOTHING`;
    });
  }

  /**
   * Takes a device out of a group, where it need not be.
   * @throws ProblemError 404
   */
  async take(name: string, device: DeviceId): Promise<void> {
    await this.find(name);
    const { count } = await this.database.deviceGroupMember.deleteMany({ where: { group: name, device } });
    if (count === 0 && (await this.database.device.count({ where: { id: device } })) === 0) await this.#refuse(device);
  }

  /** @throws ProblemError 404, 409 */
  async #refuse(device: DeviceId): Promise<never> {
    const row = await this.database.device.findUnique({ where: { id: device }, select: { state: true } });
    if (row === null) throw new ProblemError(404, `no device ${device} has been heard or registered`);
    throw new ProblemError(409, `${device} is ${row.state} and can no longer be changed`);
  }

  async #rows(condition: Prisma.Sql): Promise<readonly GroupRow[]> {
    return this.database.$queryRaw<GroupRow[]>`
      SELECT device_group.name, device_group.description, device_group.created_at, count(device.id)::int AS devices
      FROM device_group
      LEFT JOIN device_group_member ON device_group_member."group" = device_group.name
      LEFT JOIN device ON device.id = device_group_member.device AND device.state NOT IN ('decommissioned', 'archived')
      WHERE ${condition} GROUP BY device_group.name ORDER BY device_group.name COLLATE "C"`;
  }
}
