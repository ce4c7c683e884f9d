import {
  BrokerConnection,
  BrokerError,
  type BrokerTarget,
  type ConnectionEvent,
  type ReceivedMessage,
} from '@muster/broker';
import type { Logger } from '@muster/service';
import { z } from 'zod';
import { BrokerFigures, type FigureName, type FigureRecord } from './broker-figures.ts';
import { SAME_BOOT_MS, type BrokerCondition } from './fleet-view.ts';
import type { Measurement } from './running-rule.ts';

/** Where Mosquitto tells about itself (mosquitto(8), broker status), and what it is to a rule. */
const FIGURES: ReadonlyMap<string, 'uptime' | FigureName> = new Map([
  ['$SYS/broker/uptime', 'uptime'],
  ['$SYS/broker/clients/connected', 'broker-connections'],
  ['$SYS/broker/publish/messages/dropped', 'broker-dropped'],
  ['$SYS/broker/retained messages/count', 'broker-retained'],
]);
/** Where ingestion says of each broker whether it listens to it. */
const INGESTION_TOPIC = 'muster/services/ingestion';
const serviceStatusSchema = z.object({ status: z.enum(['online', 'offline']), timestamp: z.number().optional() });
const NUMBER = /^(\d{1,15})(?: seconds)?$/;
const MAX_FIGURE_BYTES = 40;
const MAX_STATUS_BYTES = 1_000;
/** A broker that does not answer is noticed within one and a half of it. */
const KEEP_ALIVE_SECONDS = 10;
/** Mosquitto tells a figure when it changes; rules that count over a time have to be told all the same. */
const REPEAT_MS = 5_000;

/** One figure that a broker tells of itself; undefined for what is none. */
export function decodeFigure(
  topic: string,
  payload: Uint8Array,
): { readonly source: 'uptime' | FigureName; readonly value: number } | undefined {
  const source = FIGURES.get(topic);
  if (source === undefined || payload.length > MAX_FIGURE_BYTES) return undefined;
  const number = NUMBER.exec(Buffer.from(payload).toString())?.[1];
  return number === undefined ? undefined : { source, value: Number(number) };
}

/** Whether a service is there, and since when it is, as far as it says so; undefined for what is no status of a service. */
export function decodeServiceStatus(
  payload: Uint8Array,
): { readonly isOnline: boolean; readonly sinceMs: number | undefined } | undefined {
  if (payload.length > MAX_STATUS_BYTES) return undefined;
  try {
    const { status, timestamp } = serviceStatusSchema.parse(JSON.parse(Buffer.from(payload).toString()));
    return { isOnline: status === 'online', sinceMs: timestamp };
  } catch {
    // Whatever it is, it says nothing about the service.
    return undefined;
  }
}

/** What is done with what brokers tell. */
export interface BrokerWatchOptions {
  readonly brokers: readonly BrokerTarget[];
  /** Connections that one broker allows, ours among them. */
  readonly maxConnections: number;
  readonly onCondition: (broker: string, condition: BrokerCondition) => void;
  readonly onMeasurement: (measurement: Measurement) => void;
  /** Called when ingestion listens to a broker, and when it does not. */
  readonly onIngestion: (broker: string, isListening: boolean, sinceMs: number) => void;
  /** Called with a figure that the next process has to know. */
  readonly onFigure: (figure: FigureRecord) => void;
  readonly onEvent: (event: ConnectionEvent) => void;
  readonly logger: Logger;
}

interface Watched {
  readonly name: string;
  readonly connection: BrokerConnection;
  readonly figures: BrokerFigures;
  bootedMs: number | null;
  condition: BrokerCondition;
  isIngestionRefused: boolean;
}

/** A connection of its own to each broker: whether it is there, and what it tells of itself. */
export class BrokerWatch {
  readonly #options: BrokerWatchOptions;
  #watched: readonly Watched[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(options: BrokerWatchOptions) {
    this.#options = options;
  }

  /**
   * Begins to watch; a broker is away until it has answered.
   * @param before figures on record
   */
  start(before: readonly FigureRecord[]): void {
    this.#watched = this.#options.brokers.map((broker) =>
      this.#watch(broker, new Map(before.filter((one) => one.broker === broker.name).map((one) => [one.name, one]))),
    );
    for (const watched of this.#watched) this.#tell(watched);
    this.#timer = setInterval(() => this.again(), REPEAT_MS);
  }

  /** Tells all figures again, for rules that have not heard them. */
  again(): void {
    for (const watched of this.#watched) this.#repeat(watched);
  }

  /** Stops. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    for (const watched of this.#watched) if (watched.condition.kind === 'there') this.#record(watched);
    await Promise.all(this.#watched.map(({ connection }) => connection.close(0)));
  }

  #watch(broker: BrokerTarget, before: ReadonlyMap<FigureName, FigureRecord>): Watched {
    const connection = new BrokerConnection({
      broker,
      clientId: `muster-alerting-${broker.name}`,
      sessionExpirySeconds: 0,
      keepAliveSeconds: KEEP_ALIVE_SECONDS,
      statusTopic: 'muster/services/alerting',
      subscriptions: [...FIGURES.keys(), INGESTION_TOPIC].map((filter) => ({ filter, qos: 0 })),
      onMessage: (message, settle) => {
        this.#take(watched, message);
        settle('acknowledge');
      },
      onEvent: (event) => this.#onEvent(watched, event),
    });
    const watched: Watched = {
      name: broker.name,
      connection,
      figures: new BrokerFigures(before, Date.now()),
      bootedMs: null,
      condition: { kind: 'away', sinceMs: null },
      isIngestionRefused: false,
    };
    return watched;
  }

  #onEvent(watched: Watched, event: ConnectionEvent): void {
    this.#options.onEvent(event);
    const nowMs = Date.now();
    if (event.kind === 'connected') {
      // Its uptime may have come first: what it keeps is sent before the subscription is confirmed.
      watched.condition = { kind: 'there', connectedMs: nowMs, bootedMs: watched.bootedMs };
      this.#tell(watched);
    }
    if (event.kind === 'disconnected' && watched.condition.kind === 'there') {
      watched.condition = { kind: 'away', sinceMs: nowMs };
      watched.bootedMs = null;
      this.#record(watched);
      this.#tell(watched);
    }
    if (event.kind === 'failed' && event.error instanceof BrokerError && event.error.code === 'subscription-refused')
      this.#refused(watched, event.error);
  }

  /** A refusal does not say of what: whether ingestion is there is given up first, and what the broker tells of itself then. */
  #refused(watched: Watched, { message: reason }: BrokerError): void {
    const [lost, filters] = watched.isIngestionRefused
      ? ['its figures are not: let the account read $SYS/broker/#', [...FIGURES.keys()]]
      : ['whether ingestion listens to it is not: let the account read muster/services/ingestion', [INGESTION_TOPIC]];
    watched.isIngestionRefused = true;
    const { name: broker, connection } = watched;
    this.#options.logger.warn({ broker, reason }, `whether the broker is there is watched; ${lost}`);
    void connection.unsubscribe(filters);
  }

  #take(watched: Watched, { topic, payload, retain, receivedAtMs }: ReceivedMessage): void {
    if (topic === INGESTION_TOPIC) {
      const status = decodeServiceStatus(payload);
      if (status !== undefined)
        this.#options.onIngestion(watched.name, status.isOnline, status.sinceMs ?? receivedAtMs);
      return;
    }
    const figure = decodeFigure(topic, payload);
    if (figure === undefined) return;
    const { source, value } = figure;
    const { figures, name: broker } = watched;
    const before = figures.dropped;
    // A window grows from what it was told before.
    if (source === 'broker-dropped') this.#measure(watched, source);
    if (source === 'uptime') this.#booted(watched, receivedAtMs - value * 1_000, receivedAtMs);
    else {
      figures.take(source, value, retain, receivedAtMs);
      this.#measure(watched, source);
    }
    // Levels change all the time and go on record at the end.
    const { dropped } = figures;
    if (dropped !== undefined && dropped !== before)
      this.#options.onFigure({ broker, name: 'broker-dropped', value: dropped, seenMs: receivedAtMs });
  }

  /** Puts figures on record as they stood when the broker was last heard. */
  #record({ name: broker, figures }: Watched): void {
    figures.disconnected();
    for (const [name, figure] of figures.figures) this.#options.onFigure({ broker, name, ...figure });
  }

  #booted(watched: Watched, bootedMs: number, nowMs: number): void {
    watched.figures.booted(bootedMs, nowMs);
    const isKnown = watched.bootedMs !== null && Math.abs(watched.bootedMs - bootedMs) < SAME_BOOT_MS;
    if (isKnown) return;
    watched.bootedMs = bootedMs;
    if (watched.condition.kind === 'away') return;
    watched.condition = { ...watched.condition, bootedMs };
    this.#options.onCondition(watched.name, watched.condition);
  }

  #tell(watched: Watched): void {
    this.#options.onCondition(watched.name, watched.condition);
    this.#repeat(watched);
  }

  #repeat(watched: Watched): void {
    const isAway = watched.condition.kind === 'away';
    this.#options.onMeasurement({ source: 'broker-lost', subject: watched.name, value: isAway ? 1 : 0 });
    // What nobody watches does not stand still.
    if (!isAway) for (const source of watched.figures.measurements.keys()) this.#measure(watched, source);
  }

  #measure({ name, figures }: Watched, source: FigureName): void {
    const raw = figures.measurements.get(source);
    if (raw === undefined) return;
    const value = source === 'broker-connections' ? (raw / this.#options.maxConnections) * 100 : raw;
    this.#options.onMeasurement({ source, subject: name, value });
  }
}
