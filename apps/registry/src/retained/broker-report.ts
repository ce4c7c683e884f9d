import { BrokerConnection, readRetained, type BrokerTarget, type ReceivedMessage } from '@muster/broker';
import { MUSTER_NAMESPACE } from '@muster/contract';
import { logConnectionEvent, type Logger } from '@muster/service';

const COUNT_TOPIC = '$SYS/broker/retained messages/count';
const UPTIME_TOPIC = '$SYS/broker/uptime';
const BRIDGES = '$SYS/broker/connection/';
const NUMBER = /^(\d{1,15})(?: seconds)?$/;
const MAX_BYTES = 40;
/** An uptime is told in whole seconds: what differs by less is the same start. */
const SAME_BOOT_MS = 5_000;
/** Without a word about its figure a broker is looked at again after this time. */
const LOOK_EVERY_MS = 30_000;
/** A bridge's name is its client's; nobody has more of them. */
const MAX_BRIDGES = 1_000;

/** A number that a broker tells of itself; undefined for what is none. */
export function brokerNumber(payload: Uint8Array): number | undefined {
  if (payload.length > MAX_BYTES) return undefined;
  const digits = NUMBER.exec(Buffer.from(payload).toString())?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/**
 * What one broker says of itself under `$SYS` (mosquitto(8), broker status), over a connection of its own: a broker that
 * refuses it keeps its drift to itself, and nothing else is lost. Mosquitto tells a figure only when it changes, and the
 * retained copy expires; looking at `$SYS/#` makes the broker drop what has expired there, its own figure included, and
 * so it tells it anew.
 */
export class BrokerReport {
  readonly #broker: BrokerTarget;
  readonly #logger: Logger;
  readonly #connection: BrokerConnection;
  readonly #bridges = new Map<string, number>();
  readonly #timer: NodeJS.Timeout;
  #bootedAtMs: number | undefined;
  #counted: { readonly retained: number; readonly atMs: number } | undefined;
  #baseline: { readonly system: number; readonly muster: number; readonly atMs: number } | undefined;
  #isLooking = false;

  constructor(broker: BrokerTarget, logger: Logger) {
    this.#broker = broker;
    this.#logger = logger;
    this.#connection = new BrokerConnection({
      broker,
      clientId: `muster-registry-report-${broker.name}`,
      sessionExpirySeconds: 0,
      subscriptions: [COUNT_TOPIC, UPTIME_TOPIC, `${BRIDGES}#`].map((filter) => ({ filter, qos: 0 })),
      onMessage: (message, settle) => {
        this.#take(message);
        settle('acknowledge');
      },
      onEvent: (event) => {
        logConnectionEvent(logger)(event);
        if (event.kind === 'connected') void this.#look();
        if (event.kind === 'disconnected') this.#forget();
      },
    });
    this.#timer = setInterval(() => {
      const atMs = this.#baseline?.atMs ?? 0;
      if (this.#connection.ready && Date.now() - atMs >= LOOK_EVERY_MS) void this.#look();
    }, LOOK_EVERY_MS / 3);
  }

  /** When it was started, by its uptime, in milliseconds since 1970; undefined where it does not tell. */
  get bootedAtMs(): number | undefined {
    return this.#bootedAtMs;
  }

  /** How many messages it last said that it retains. */
  get counted(): { readonly retained: number; readonly atMs: number } | undefined {
    return this.#counted;
  }

  /** How many of them are its own and Muster's (mqtt-pitfalls R14). */
  get baseline(): { readonly system: number; readonly muster: number; readonly atMs: number } | undefined {
    return this.#baseline;
  }

  /** Bridges that are connected to it, and since when they are as far as this was heard. */
  get bridges(): readonly { readonly name: string; readonly sinceMs: number }[] {
    return [...this.#bridges].map(([name, sinceMs]) => ({ name, sinceMs }));
  }

  /** Stops listening. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#connection.close(0);
  }

  #take({ topic, payload, retain, receivedAtMs }: ReceivedMessage): void {
    if (topic.startsWith(BRIDGES)) {
      const name = topic.slice(BRIDGES.length).replace(/\/state$/, '');
      const isUp = Buffer.from(payload.subarray(0, MAX_BYTES)).toString() === '1';
      if (!isUp) this.#bridges.delete(name);
      // Of one that was there before us it is not known since when.
      else if (!this.#bridges.has(name) && this.#bridges.size < MAX_BRIDGES)
        this.#bridges.set(name, retain ? 0 : receivedAtMs);
      return;
    }
    const value = brokerNumber(payload);
    if (value === undefined) return;
    if (topic === UPTIME_TOPIC) {
      const bootedAtMs = receivedAtMs - value * 1_000;
      const known = this.#bootedAtMs;
      if (known === undefined || Math.abs(known - bootedAtMs) >= SAME_BOOT_MS) this.#bootedAtMs = bootedAtMs;
    } else {
      this.#counted = { retained: value, atMs: receivedAtMs };
      void this.#look();
    }
  }

  #forget(): void {
    this.#bootedAtMs = undefined;
    this.#counted = undefined;
    this.#baseline = undefined;
    this.#bridges.clear();
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      const found = await readRetained(this.#broker, ['$SYS/#', `${MUSTER_NAMESPACE}#`]);
      const system = found.filter(({ topic }) => topic.startsWith('$')).length;
      this.#baseline = { system, muster: found.length - system, atMs: Date.now() };
    } catch (error) {
      this.#logger.warn({ err: error, broker: this.#broker.name }, 'the broker’s own topics could not be counted');
    } finally {
      this.#isLooking = false;
    }
  }
}
