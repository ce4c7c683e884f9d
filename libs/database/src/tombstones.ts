import { Client } from 'pg';
import type { PrismaClient } from './client/client.ts';

/** The channel on which the registry tells of new tombstones. */
export const TOMBSTONE_CHANNEL = 'muster_tombstone';
const POLL_MS = 5_000;

/**
 * The tombstoned ids in memory, so that no message costs a query. NOTIFY makes it quick, a poll every 5 s makes it sure.
 */
export class TombstoneSet {
  readonly #devices = new Set<string>();
  #version = 0n;
  #timer: NodeJS.Timeout | undefined;
  #listener: Client | undefined;
  #closed = false;
  #isStale = false;
  #refreshing: Promise<void> | undefined;

  constructor(
    private readonly database: PrismaClient,
    private readonly url: string,
    private readonly onError: (error: Error) => void,
  ) {}

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
    this.#timer = setInterval(() => this.#refresh(), POLL_MS);
    await this.#listen();
  }

  /** Stops following. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    await this.#refreshing;
    await this.#listener?.end();
  }

  /** What is told while a load is under way may be too new for it: one more follows. */
  #refresh(): void {
    if (this.#closed) return;
    if (this.#refreshing !== undefined) {
      this.#isStale = true;
      return;
    }
    this.#refreshing = this.#load()
      .then(() => (this.#listener === undefined ? this.#listen() : undefined))
      .catch(this.onError)
      .finally(() => {
        this.#refreshing = undefined;
        if (!this.#isStale) return;
        this.#isStale = false;
        this.#refresh();
      });
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

  async #listen(): Promise<void> {
    const listener = new Client({ connectionString: this.url, application_name: 'muster-tombstones' });
    const lost = (): void => {
      if (this.#listener === listener) this.#listener = undefined;
    };
    listener.on('error', lost);
    listener.on('end', lost);
    listener.on('notification', () => this.#refresh());
    try {
      await listener.connect();
      await listener.query(`LISTEN ${TOMBSTONE_CHANNEL}`);
      this.#listener = listener;
    } catch (error) {
      this.onError(error instanceof Error ? error : new Error(String(error)));
      await listener.end();
    }
  }
}
