import { ChannelFollower } from './channel.ts';
import type { PrismaClient } from './client/client.ts';

/** The channel on which the registry tells of new tombstones. */
export const TOMBSTONE_CHANNEL = 'muster_tombstone';

/** The tombstoned ids in memory, so that no message costs a query. */
export class TombstoneSet {
  readonly #devices = new Set<string>();
  readonly #follower: ChannelFollower;
  #version = 0n;

  constructor(
    private readonly database: PrismaClient,
    url: string,
    onError: (error: Error) => void,
  ) {
    this.#follower = new ChannelFollower({ url, channel: TOMBSTONE_CHANNEL, refresh: () => this.#load(), onError });
  }

  /** Whether the device must stay silent. */
  has(device: string): boolean {
    return this.#devices.has(device);
  }

  /** The newest tombstone that has been applied. */
  get version(): bigint {
    return this.#version;
  }

  /** Loads all tombstones and begins to follow them; resolves when they are known. */
  async start(): Promise<void> {
    await this.#load();
    await this.#follower.start();
  }

  /** Stops following. */
  async close(): Promise<void> {
    await this.#follower.close();
  }

  /** Everything each time: an undone decommissioning takes its tombstone away, and the set is small. */
  async #load(): Promise<void> {
    const rows = await this.database.tombstone.findMany({ select: { device: true, version: true } });
    const present = new Set(rows.map(({ device }) => device));
    for (const device of this.#devices) if (!present.has(device)) this.#devices.delete(device);
    for (const { device, version } of rows) {
      this.#devices.add(device);
      if (version > this.#version) this.#version = version;
    }
  }
}
