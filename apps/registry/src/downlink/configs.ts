import {
  configTopic,
  encodeConfig,
  isDeviceId,
  MAX_CONFIG_VERSION,
  type ConfigQuery,
  type ConfigRequest,
  type ConfigVersion,
  type DeviceConfig,
  type DeviceId,
  type DeviceInfo,
  type JsonObject,
} from '@muster/contract';
import { BrokerError, readRetained, type BrokerTarget } from '@muster/broker';
import { appendEvents, type Prisma, type PrismaClient } from '@muster/database';
import { ProblemError, type Logger } from '@muster/service';
import { configFault, differing, nextAttemptMs, syncOf, versionAfter } from './config-sync.ts';
import type { Downlink } from './downlink.ts';

const TICK_MS = 500;
/** Devices that are told something in one tick. */
const PAGE = 200;
const SWEEP_LIMIT_MS = 10_000;
const SWEEP_PAUSE_MS = 5_000;

/** What configurations are made of. */
export interface ConfigsParts {
  readonly database: PrismaClient;
  readonly downlink: Downlink;
  readonly brokers: readonly BrokerTarget[];
  readonly logger: Logger;
}

interface Wanted {
  readonly device: DeviceId;
  readonly broker: string;
  readonly attempts: number;
  /** When it was to be done, as PostgreSQL writes it: another one means that there is more to do. */
  readonly dueAt: string;
  readonly version: bigint;
  readonly settings: JsonObject | null;
}

/**
 * The settings that devices are to have: each version on record, the newest retained on every broker, because a device
 * may come to any. A broker that was away is compared when it is back, and told what it lacks.
 */
export class Configs {
  readonly #parts: ConfigsParts;
  /** Brokers to compare with what is on record, and from when on; times are milliseconds since 1970. */
  readonly #unsure = new Map<string, number>();
  /** What is being published for each device, one after the other: the newest version has the last word. */
  readonly #turns = new Map<DeviceId, Promise<void>>();
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> | undefined;

  constructor(parts: ConfigsParts) {
    this.#parts = parts;
    parts.downlink.onConnected((broker) => void this.#unsure.set(broker, 0));
  }

  /** Goes on with what some broker does not have. */
  start(): void {
    this.#timer = setInterval(() => void this.#work(), TICK_MS);
  }

  /** Begins nothing more, and finishes what is being published. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#working;
    await Promise.all(this.#turns.values());
  }

  /**
   * Makes settings the desired ones of a device, or with null none; answers when every broker that is there has them.
   * @throws ProblemError 404; 409 where the newest version is not the expected one, or the device is gone
   */
  async put(
    device: DeviceId,
    { settings, expectVersion }: { readonly settings: JsonObject | null } & Pick<ConfigRequest, 'expectVersion'>,
    by: string,
  ): Promise<void> {
    const version = await this.#parts.database.$transaction(async (transaction) => {
      const { newest, applied } = await this.#newestForChange(transaction, device);
      if (expectVersion !== undefined && expectVersion !== newest)
        throw new ProblemError(
          409,
          `the newest version is ${newest}, not ${expectVersion}: read it, and decide again what to change`,
        );
      const next = versionAfter(newest, applied);
      if (next > MAX_CONFIG_VERSION)
        throw new ProblemError(409, `version ${MAX_CONFIG_VERSION} is the last that a device takes; erase its flash`);
      await transaction.$executeRaw`
        INSERT INTO device_config (device, version, settings, by)
        VALUES (${device}, ${next}, ${settings === null ? null : JSON.stringify(settings)}::jsonb, ${by})`;
      await transaction.$executeRaw`
        INSERT INTO device_config_broker (device, broker, next_at)
        SELECT ${device}, broker, now() FROM unnest(${[...this.#parts.downlink.brokers]}::text[]) AS broker
        ON CONFLICT (device, broker) DO UPDATE SET next_at = now(), attempts = 0, fault = NULL`;
      const state = settings === null ? 'cleared' : 'set';
      await appendEvents(transaction, [{ kind: 'config', device, data: { id: String(next), state } }]);
      return next;
    });
    this.#parts.logger.info({ device, version, cleared: settings === null }, 'a configuration was set');
    await this.#inTurn(device);
  }

  /**
   * What a device is to go by, what it goes by, and every version.
   * @throws ProblemError 404
   */
  async view(device: DeviceId, { limit, cursor }: ConfigQuery): Promise<DeviceConfig> {
    const { database, downlink } = this.#parts;
    const found = await database.device.findUnique({ where: { id: device }, select: { info: true } });
    if (found === null) throw new ProblemError(404, `no device ${device} has been heard or registered`);
    const [newest, rows, states] = await Promise.all([
      database.deviceConfig.findFirst({ where: { device }, orderBy: { version: 'desc' } }),
      database.deviceConfig.findMany({
        where: { device, ...(cursor === undefined ? {} : { version: { lt: BigInt(cursor) } }) },
        orderBy: { version: 'desc' },
        take: limit + 1,
      }),
      database.deviceConfigBroker.findMany({ where: { device } }),
    ]);
    const brokers = downlink.brokers.map((broker) => {
      const state = states.find((one) => one.broker === broker);
      return {
        broker,
        published: newest === null || (state?.version === newest.version && state.nextAt === null),
        publishedAt: state?.publishedAt?.toISOString() ?? null,
        fault: state?.fault ?? null,
      };
    });
    const desired = newest === null || newest.settings === null ? null : versionOf(newest);
    const page = rows.slice(0, limit);
    return {
      device,
      version: Number(newest?.version ?? 0),
      desired,
      ...syncOf(desired, (found.info as DeviceInfo | null)?.config, brokers),
      brokers,
      history: page.map(versionOf),
      next: rows.length > limit ? String(page.at(-1)?.version) : null,
    };
  }

  async #newestForChange(
    transaction: Prisma.TransactionClient,
    device: DeviceId,
  ): Promise<{ readonly newest: number; readonly applied: number | undefined }> {
    // Locks out a decommissioning and another change of the same device, which begin with its row too.
    const [found] = await transaction.$queryRaw<{ state: string; applied: number | null }[]>`
      SELECT state, (info -> 'config' ->> 'version')::float8 AS applied FROM device WHERE id = ${device} FOR UPDATE`;
    if (found === undefined) throw new ProblemError(404, `no device ${device} has been heard or registered`);
    if (found.state !== 'discovered' && found.state !== 'registered')
      throw new ProblemError(409, `${device} is ${found.state}: nothing is told to it any more`);
    // Asked when the lock is held: a statement that waits for it still sees what was before.
    const { _max } = await transaction.deviceConfig.aggregate({ where: { device }, _max: { version: true } });
    return { newest: Number(_max.version ?? 0), applied: found.applied ?? undefined };
  }

  async #work(): Promise<void> {
    if (this.#working !== undefined) return;
    this.#working = this.#reconcile();
    try {
      await this.#working;
    } catch (error) {
      this.#parts.logger.warn({ err: error }, 'configurations wait: what is due could not be read');
    } finally {
      this.#working = undefined;
    }
  }

  async #reconcile(): Promise<void> {
    for (const broker of this.#parts.brokers) {
      if ((this.#unsure.get(broker.name) ?? Number.POSITIVE_INFINITY) > Date.now()) continue;
      this.#unsure.delete(broker.name);
      try {
        await this.#compare(broker);
      } catch (error) {
        if (!(error instanceof BrokerError)) throw error;
        this.#unsure.set(broker.name, Date.now() + SWEEP_PAUSE_MS);
        this.#parts.logger.warn({ broker: broker.name, reason: error.message }, 'its configurations could not be read');
      }
    }
    const due = await this.#parts.database.$queryRaw<{ device: DeviceId }[]>`
      SELECT state.device FROM device_config_broker AS state
      JOIN device ON device.id = state.device AND device.state IN ('discovered', 'registered')
      WHERE state.next_at <= now() AND state.broker = ANY(${[...this.#parts.downlink.brokers]}::text[])
      GROUP BY state.device ORDER BY min(state.next_at) LIMIT ${PAGE}`;
    await Promise.all(due.map(({ device }) => this.#inTurn(device)));
  }

  /** Finds what a broker lacks: it may be new, or have lost what it held. */
  async #compare(broker: BrokerTarget): Promise<void> {
    const { database } = this.#parts;
    const rows = await database.$queryRaw<{ device: DeviceId; version: bigint; settings: JsonObject | null }[]>`
      SELECT DISTINCT ON (device_config.device) device_config.device, version, settings
      FROM device_config JOIN device ON device.id = device_config.device AND device.state IN ('discovered', 'registered')
      ORDER BY device_config.device, version DESC`;
    if (rows.length === 0) return;
    const wanted = new Map(
      rows.map(({ device, version, settings }) => [configTopic(device), encodeConfig(Number(version), settings)]),
    );
    const held = await readRetained(broker, ['devices/+/config'], SWEEP_LIMIT_MS);
    const texts = new Map(held.map(({ topic, payload }) => [topic, Buffer.from(payload).toString('utf8')]));
    const devices = differing(wanted, texts).map((topic) => topic.split('/')[1] ?? '');
    await database.$executeRaw`
      INSERT INTO device_config_broker (device, broker, next_at)
      SELECT device, ${broker.name}, now() FROM unnest(${devices.filter(isDeviceId)}::text[]) AS device
      ON CONFLICT (device, broker) DO UPDATE SET next_at = now(), version = 0`;
    if (devices.length > 0)
      this.#parts.logger.info({ broker: broker.name, devices: devices.length }, 'the broker lacks configurations');
  }

  async #inTurn(device: DeviceId): Promise<void> {
    const turn = (this.#turns.get(device) ?? Promise.resolve()).then(async () => {
      await Promise.all((await this.#wanted(device)).map((one) => this.#publish(one)));
    });
    const settled = turn.catch((error: unknown) => {
      // It is on record, and tried again with the next tick.
      this.#parts.logger.warn({ err: error, device }, 'a configuration could not be published; it is tried again');
    });
    this.#turns.set(device, settled);
    await settled;
    if (this.#turns.get(device) === settled) this.#turns.delete(device);
  }

  /** The brokers that are to be told the newest configuration of a device now. */
  async #wanted(device: DeviceId): Promise<readonly Wanted[]> {
    // Nothing is retained for a device that is being taken out of service: it would be its ghost.
    return this.#parts.database.$queryRaw<Wanted[]>`
      SELECT state.device, state.broker, state.attempts, state.next_at::text AS "dueAt", newest.version, newest.settings
      FROM device_config_broker AS state
      JOIN device ON device.id = state.device AND device.state IN ('discovered', 'registered')
      CROSS JOIN LATERAL (SELECT version, settings FROM device_config
                          WHERE device_config.device = state.device ORDER BY version DESC LIMIT 1) AS newest
      WHERE state.device = ${device} AND state.next_at <= now()
        AND state.broker = ANY(${[...this.#parts.downlink.brokers]}::text[])`;
  }

  async #publish({ device, broker, attempts, dueAt, version, settings }: Wanted): Promise<void> {
    const { database, downlink } = this.#parts;
    const payload = encodeConfig(Number(version), settings);
    const result = await downlink.publish(broker, { topic: configTopic(device), payload, retain: true });
    const fault = configFault(result);
    const now = new Date();
    if (fault !== null) {
      const nextAt = new Date(nextAttemptMs(attempts, now.getTime()));
      await database.deviceConfigBroker.updateMany({
        where: { device, broker, nextAt: { not: null } },
        data: { fault, nextAt, attempts: attempts + 1 },
      });
      return;
    }
    // Where a newer version has come meanwhile, that one is still to be published. Its row itself is asked: of another
    // table an update that waited for that version's transaction would see what was there before.
    await database.$executeRaw`
      UPDATE device_config_broker
      SET version = ${version}, published_at = ${now}, attempts = 0, fault = NULL,
          next_at = CASE WHEN next_at::text = ${dueAt} THEN NULL ELSE next_at END
      WHERE device = ${device} AND broker = ${broker}`;
  }
}

function versionOf(row: {
  readonly version: bigint;
  readonly settings: Prisma.JsonValue;
  readonly by: string;
  readonly createdAt: Date;
}): ConfigVersion {
  return {
    version: Number(row.version),
    settings: row.settings as ConfigVersion['settings'],
    by: row.by,
    at: row.createdAt.toISOString(),
  };
}
