import { randomUUID } from 'node:crypto';
import {
  commandTopic,
  encodeCommand,
  type CommandAck,
  type Command,
  type CommandPage,
  type CommandPageQuery,
  type CommandRequest,
  type DeviceId,
} from '@muster/contract';
import {
  appendEvents,
  ChannelFollower,
  PRESENCE_CHANNEL,
  Prisma,
  type NewEvent,
  type PrismaClient,
} from '@muster/database';
import { ProblemError, type Logger } from '@muster/service';
import { Counter, type Registry } from 'prom-client';
import { afterAck, afterPublish, nextStep } from './command-machine.ts';
import {
  columnsOf,
  commandOf,
  DUE_COMMANDS,
  LOCATED_COMMANDS,
  recordOf,
  requestHash,
  whereaboutsOf,
  type CommandRow,
  type LocatedRow,
} from './command-row.ts';
import type { Downlink } from './downlink.ts';

const TICK_MS = 500;
/** Where many devices come back at once, what waits for them is read together. */
const REST_MS = 50;
/** Commands that are looked at in one tick. */
const PAGE = 500;
const KEY_KEPT_HOURS = 24;
const MAX_OPEN_PER_DEVICE = 1_000;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** What commands are made of. */
export interface CommandsParts {
  readonly database: PrismaClient;
  readonly postgresUrl: string;
  readonly downlink: Downlink;
  readonly logger: Logger;
  readonly metrics: Registry;
}

/** Who gives a command, and under which key it may come a second time. */
export interface Giver {
  readonly by: string;
  readonly key: string | undefined;
}

/**
 * Commands for devices. Each is on record before it is published, and what is not answered goes on by itself until its
 * time is over, also in another process: a queued one is tried until a broker has somebody who subscribes to it, a sent
 * one is published again after a while, and when the device comes back without having answered.
 */
export class Commands {
  readonly #parts: CommandsParts;
  readonly #follower: ChannelFollower;
  readonly #acknowledgements: Counter<'outcome'>;
  /** The last thing that is being done for each device: its commands go out one after the other. */
  readonly #turns = new Map<DeviceId, Promise<void>>();
  /** Who waits for the end of a command. */
  readonly #waiting = new Map<string, Set<() => void>>();
  #timer: NodeJS.Timeout | undefined;
  #isStopping = false;

  constructor(parts: CommandsParts) {
    this.#parts = parts;
    const { logger, metrics } = parts;
    this.#follower = new ChannelFollower({
      ...{ url: parts.postgresUrl, channel: PRESENCE_CHANNEL, refresh: () => this.#work(), restMs: REST_MS },
      onError: (error) => logger.warn({ err: error }, 'commands wait: what is due could not be read'),
    });
    this.#acknowledgements = new Counter({
      name: 'muster_registry_acknowledgements_total',
      help: 'Messages on ack topics by what they came to: settled, late, duplicate, unknown, or why they were refused',
      labelNames: ['outcome'],
      registers: [metrics],
    });
  }

  /** Goes on with what is not answered, and again whenever a device comes back. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => this.#follower.refresh(), TICK_MS);
    await this.#follower.start();
    this.#follower.refresh();
  }

  /** Called by Nest before it waits for its requests: who waits for a device is answered now. */
  onModuleDestroy(): void {
    this.#isStopping = true;
    this.ended([...this.#waiting.keys()]);
  }

  /** Begins nothing more, and finishes what is being told. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#follower.close();
    await Promise.allSettled(this.#turns.values());
  }

  /**
   * Puts a command on record and publishes it; answers it as it stands when the brokers have said what they did. The
   * same key within 24 hours is the same command.
   * @throws ProblemError 404; 409 for a device that is gone, and for a key that was used for something else
   */
  async give(
    device: DeviceId,
    request: CommandRequest,
    giver: Giver,
  ): Promise<{ readonly command: Command; readonly isNew: boolean }> {
    const { id, isNew } = await this.#record(device, request, giver);
    if (isNew) await this.#inTurn(device, [id]);
    return { command: await this.find(id), isNew };
  }

  /** The command when it has ended, or as it is when the time is over or the service stops. */
  async whenEnded(id: string, limitMs: number): Promise<Command> {
    let timer: NodeJS.Timeout | undefined;
    let wake: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => (wake = resolve));
    const waiting = this.#waiting.get(id) ?? new Set();
    this.#waiting.set(id, waiting.add(wake));
    try {
      // Looked at after it is waited for, so that no end is missed.
      const command = await this.find(id);
      if (this.#isStopping || (command.state !== 'queued' && command.state !== 'sent')) return command;
      await Promise.race([ended, new Promise<void>((resolve) => (timer = setTimeout(resolve, limitMs)))]);
      return await this.find(id);
    } finally {
      clearTimeout(timer);
      waiting.delete(wake);
      if (waiting.size === 0) this.#waiting.delete(id);
    }
  }

  /**
   * One command.
   * @throws ProblemError 404
   */
  async find(id: string): Promise<Command> {
    const [row] = await this.#parts.database.$queryRaw<CommandRow[]>`
      SELECT * FROM device_command WHERE id = ${id}::uuid`;
    if (row === undefined) throw new ProblemError(404, `there is no command ${id}; they are kept for 90 days`);
    return commandOf(row);
  }

  /**
   * One page of the commands of a device, the newest first.
   * @throws ProblemError 404
   */
  async page(device: DeviceId, { limit, cursor }: CommandPageQuery): Promise<CommandPage> {
    await this.#requireDevice(device);
    const before = cursor === undefined ? Prisma.empty : Prisma.sql`AND seq < ${BigInt(cursor)}`;
    const rows = await this.#parts.database.$queryRaw<CommandRow[]>`
      SELECT * FROM device_command WHERE device = ${device} ${before} ORDER BY seq DESC LIMIT ${limit + 1}`;
    const items = rows.slice(0, limit);
    return { items: items.map(commandOf), next: rows.length > limit ? String(items.at(-1)?.seq) : null };
  }

  /**
   * Cancels a command that the device has not answered; one that is sent may still be done, and then its answer is
   * kept as late. Cancelled again it stays as it is.
   * @throws ProblemError 404; 409 where it has ended otherwise
   */
  async cancel(id: string, by: string): Promise<Command> {
    await this.#parts.database.$transaction(async (transaction) => {
      const rows = await transaction.$queryRaw<{ device: DeviceId }[]>`
        UPDATE device_command SET state = 'cancelled', ended_at = now(), error = ${`cancelled by ${by}`}
        WHERE id = ${id}::uuid AND state IN ('queued', 'sent') RETURNING device`;
      await appendEvents(
        transaction,
        rows.map(({ device }) => changed(device, id, 'cancelled')),
      );
    });
    this.#tellEnd(id);
    const command = await this.find(id);
    if (command.state !== 'cancelled')
      throw new ProblemError(409, `the command is ${command.state}: there is nothing left to cancel`);
    return command;
  }

  /**
   * Cancels, in the transaction of the caller, all that a device has not answered; answers the ids, which `ended` takes
   * when it is committed.
   */
  async cancelAll(transaction: Prisma.TransactionClient, device: DeviceId, reason: string): Promise<readonly string[]> {
    const rows = await transaction.$queryRaw<{ id: string }[]>`
      UPDATE device_command SET state = 'cancelled', ended_at = now(), error = ${reason}
      WHERE device = ${device} AND state IN ('queued', 'sent') RETURNING id`;
    await appendEvents(
      transaction,
      rows.map(({ id }) => changed(device, id, 'cancelled')),
    );
    return rows.map(({ id }) => id);
  }

  /** Wakes who waits for the end of commands. */
  ended(ids: readonly string[]): void {
    for (const id of ids) this.#tellEnd(id);
  }

  /** Resolves when nothing is being told to a device that was decided before. */
  async whenQuiet(device: DeviceId): Promise<void> {
    await this.#turns.get(device);
  }

  /** Counts a message on an ack topic that says nothing that could be used. */
  refused(reason: string): void {
    this.#acknowledgements.inc({ outcome: reason });
  }

  /** Takes what a device answered; resolves when it is committed. */
  async acknowledge(device: DeviceId, ack: CommandAck): Promise<void> {
    const outcome = UUID.test(ack.id) ? await this.#settle(device, ack) : 'unknown';
    this.#acknowledgements.inc({ outcome });
    if (outcome === 'settled' || outcome === 'late') this.#tellEnd(ack.id.toLowerCase());
    else
      this.#parts.logger.warn({ device, command: ack.id.slice(0, 64), outcome }, 'an acknowledgement changes nothing');
  }

  async #settle(device: DeviceId, ack: CommandAck): Promise<'settled' | 'late' | 'duplicate' | 'unknown'> {
    return this.#parts.database.$transaction(async (transaction) => {
      // Of another device's command it knows nothing: its account lets it answer in its own name alone.
      const [row] = await transaction.$queryRaw<CommandRow[]>`
        SELECT * FROM device_command WHERE id = ${ack.id}::uuid AND device = ${device} FOR UPDATE`;
      if (row === undefined) return 'unknown';
      const now = new Date();
      const outcome = afterAck(recordOf(row), ack, now.getTime());
      if (outcome.kind === 'duplicate') return 'duplicate';
      await transaction.deviceCommand.update({
        where: { id: row.id },
        data: {
          ...columnsOf(outcome.state),
          ...(outcome.kind === 'late' ? { late: { at: now.toISOString(), error: ack.error } } : {}),
        },
      });
      if (columnsOf(outcome.state).state !== row.state)
        await appendEvents(transaction, [changed(device, row.id, columnsOf(outcome.state).state)]);
      return outcome.kind;
    });
  }

  async #record(
    device: DeviceId,
    request: CommandRequest,
    { by, key }: Giver,
  ): Promise<{ readonly id: string; readonly isNew: boolean }> {
    const hash = requestHash(request);
    const { name, args, expiresInSeconds } = request;
    return this.#parts.database.$transaction(async (transaction) => {
      // Whoever takes the device out of service begins with its row as well, and so do two requests with one key.
      const [found] = await transaction.$queryRaw<{ state: string }[]>`
        SELECT state FROM device WHERE id = ${device} FOR UPDATE`;
      if (found === undefined) throw new ProblemError(404, `no device ${device} has been heard or registered`);
      if (key !== undefined) {
        await transaction.$executeRaw`
          UPDATE device_command SET idempotency_key = NULL
          WHERE device = ${device} AND idempotency_key = ${key}
            AND created_at <= now() - make_interval(hours => ${KEY_KEPT_HOURS})`;
        const same = await transaction.deviceCommand.findUnique({
          where: { device_idempotencyKey: { device, idempotencyKey: key } },
          select: { id: true, requestHash: true },
        });
        if (same !== null && same.requestHash !== hash)
          throw new ProblemError(
            409,
            'the Idempotency-Key was used for another command; a new command needs a new key',
          );
        if (same !== null) return { id: same.id, isNew: false };
      }
      if (found.state !== 'discovered' && found.state !== 'registered')
        throw new ProblemError(409, `${device} is ${found.state}: nothing is told to it any more`);
      const open = await transaction.deviceCommand.count({ where: { device, state: { in: ['queued', 'sent'] } } });
      if (open >= MAX_OPEN_PER_DEVICE)
        throw new ProblemError(409, `${open} commands wait for ${device} already; cancel some, or let them expire`);
      const id = randomUUID();
      await transaction.$executeRaw`
        INSERT INTO device_command (id, device, name, args, by, expires_at, brokers, waits_for, idempotency_key, request_hash)
        VALUES (${id}::uuid, ${device}, ${name}, ${JSON.stringify(args)}::jsonb, ${by},
                now() + make_interval(secs => ${expiresInSeconds}), '{}', 'it is about to be published', ${key ?? null}, ${hash})`;
      await appendEvents(transaction, [changed(device, id, 'queued')]);
      return { id, isNew: true };
    });
  }

  async #requireDevice(device: DeviceId): Promise<void> {
    const found = await this.#parts.database.device.count({ where: { id: device } });
    if (found === 0) throw new ProblemError(404, `no device ${device} has been heard or registered`);
  }

  async #work(): Promise<void> {
    const due = await this.#parts.database.$queryRaw<{ id: string; device: DeviceId }[]>`
      SELECT id, device FROM (${LOCATED_COMMANDS} WHERE ${DUE_COMMANDS} ORDER BY device_command.seq LIMIT ${PAGE}) AS due
      ORDER BY seq`;
    const ids = new Map<DeviceId, string[]>();
    // What is being told already is looked at again with the next tick; nobody waits here for a broker that hangs.
    for (const { id, device } of due) if (!this.#turns.has(device)) ids.set(device, [...(ids.get(device) ?? []), id]);
    for (const [device, all] of ids) void this.#inTurn(device, all);
  }

  /** Does what is to be done with commands of one device, after whatever is being done for it. */
  async #inTurn(device: DeviceId, ids: readonly string[]): Promise<void> {
    const turn = (this.#turns.get(device) ?? Promise.resolve()).then(async () => {
      // Where one finds no broker, those behind it would not either.
      for (const id of ids) if (!(await this.#step(id))) return;
    });
    const settled = turn.catch((error: unknown) => {
      // It is on record, and tried again with the next tick.
      this.#parts.logger.warn({ err: error, device }, 'a command could not be handled; it is tried again');
    });
    this.#turns.set(device, settled);
    await settled;
    if (this.#turns.get(device) === settled) this.#turns.delete(device);
  }

  /** Does what is to be done with a command; answers whether a broker was there. */
  async #step(id: string): Promise<boolean> {
    const { database, downlink } = this.#parts;
    const [row] = await database.$queryRaw<LocatedRow[]>`${LOCATED_COMMANDS} WHERE device_command.id = ${id}::uuid`;
    if (row === undefined) return true;
    const record = recordOf(row);
    const device = whereaboutsOf(row);
    const now = new Date();
    const step = nextStep(record, device, downlink.brokers, now.getTime());
    if (step.kind === 'rest') return true;
    if (step.kind === 'become') {
      await this.#change(row, columnsOf(step.state));
      this.#tellEnd(id);
      return true;
    }
    const payload = encodeCommand({ id, name: row.name, args: row.args, expiresAtMs: record.expiresAtMs });
    const message = { topic: commandTopic(row.device), payload, retain: false, expirySeconds: step.expirySeconds };
    const results = await Promise.all(step.brokers.map((broker) => downlink.publish(broker, message)));
    const { state, connection, attempts } = afterPublish(record, device, results, Date.now());
    const brokers = results.filter(({ outcome }) => outcome === 'taken').map(({ broker }) => broker);
    // That it was sent is told also of one that was answered or cancelled meanwhile.
    if (brokers.length > 0) await database.deviceCommand.update({ where: { id }, data: { sentAt: now, brokers } });
    await this.#change(row, { ...columnsOf(state), connection, attempts });
    return results.some(({ outcome }) => outcome !== 'away');
  }

  /** Changes a command that has not ended. */
  async #change(
    { id, device, state: before }: CommandRow,
    data: Prisma.DeviceCommandUpdateInput & { readonly state: string },
  ): Promise<void> {
    await this.#parts.database.$transaction(async (transaction) => {
      const where = { id, state: { in: ['queued', 'sent'] } };
      const { count } = await transaction.deviceCommand.updateMany({ where, data });
      if (count > 0 && data.state !== before) await appendEvents(transaction, [changed(device, id, data.state)]);
    });
  }

  #tellEnd(id: string): void {
    for (const wake of this.#waiting.get(id) ?? []) wake();
  }
}

function changed(device: DeviceId, id: string, state: string): NewEvent {
  return { kind: 'command', device, data: { id, state } };
}
