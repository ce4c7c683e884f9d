import type { FleetEvent, PresenceReason } from '@muster/contract';
import {
  ChannelFollower,
  EVENT_CHANNEL,
  eventsBehind,
  eventsBetween,
  EVENTS_RESUMABLE_MS,
  isBehind,
  isOnRecord,
  newestEvent,
  type EventFilter,
  type EventPosition,
  type EventRow,
  type PrismaClient,
} from '@muster/database';
import type { Logger } from '@muster/service';
import { explanationOf } from '../devices/device-view.ts';

/** Events that are read and sent at once. */
const PAGE = 1_000;
/** The newest events stay in memory: who has just lost its connection costs the database nothing. */
const MAX_IN_MEMORY = 10_000;
/** What is told many times a second is read together; nobody sees the difference. */
const REST_MS = 50;
/** How soon it is looked again for events that a running transaction still hides. */
const FIRST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 500;

/** An event as a stream sends it. */
export interface StreamedEvent {
  readonly position: EventPosition;
  readonly kind: FleetEvent['kind'];
  readonly device: string | null;
  /** The block of the stream, with the empty line that ends it. */
  readonly text: string;
}

/** Events, and up to where was looked for them. */
export interface EventsRead {
  readonly events: readonly StreamedEvent[];
  readonly upTo: EventPosition;
}

/** What is behind a place is no longer on record. */
export class EventsGoneError extends Error {
  override readonly name = 'EventsGoneError';
  readonly code = 'events-gone';
}

/** A place as text, for people and programs to keep. */
export function cursorOf({ xid, id }: EventPosition): string {
  return `${xid}-${id}`;
}

/** The place that a text stands for; undefined where it is none. */
export function positionOf(cursor: string): EventPosition | undefined {
  const [, xid, id] = /^(\d{1,19})-(\d{1,18})$/.exec(cursor) ?? [];
  return xid === undefined || id === undefined ? undefined : { xid: BigInt(xid), id: BigInt(id) };
}

/** An event as it is sent. */
function streamedEvent({ position, at, kind, device, data }: EventRow): StreamedEvent {
  const id = cursorOf(position);
  const whole = kind === 'presence' ? { ...data, explanation: explanationOf(data['reason'] as PresenceReason) } : data;
  const event = { id, at: at.toISOString(), kind, device, data: whole };
  return { position, kind, device, text: `id: ${id}\nevent: ${kind}\ndata: ${JSON.stringify(event)}\n\n` };
}

function passes({ kind, device }: StreamedEvent, { kinds, devices }: EventFilter): boolean {
  return (kinds.size === 0 || kinds.has(kind)) && (devices.size === 0 || (device !== null && devices.has(device)));
}

/** What happens in the fleet, read once for all streams; those that resume read what is older from the database. */
export class EventFeed {
  readonly #follower: ChannelFollower;
  /** The newest events, in order; everything behind `#since` is among them. */
  #recent: StreamedEvent[] = [];
  #since: EventPosition | undefined;
  #head: EventPosition | undefined;
  #pauseMs = FIRST_PAUSE_MS;
  #timer: NodeJS.Timeout | undefined;
  readonly #waiting = new Set<() => void>();

  constructor(
    private readonly database: PrismaClient,
    url: string,
    logger: Logger,
  ) {
    this.#follower = new ChannelFollower({
      url,
      channel: EVENT_CHANNEL,
      refresh: () => this.#read(),
      restMs: REST_MS,
      onError: (error) => logger.warn({ err: error }, 'events were not read; it is tried again'),
    });
  }

  /** The newest event that is known; undefined before the start. */
  get head(): EventPosition | undefined {
    return this.#head;
  }

  /** Begins to follow. */
  async start(): Promise<void> {
    this.#head = await newestEvent(this.database);
    this.#since = this.#head;
    await this.#follower.start();
    this.#follower.refresh();
  }

  /** Stops following. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#follower.close();
  }

  /** Whether everything behind a place can still be read. */
  async isResumable(position: EventPosition): Promise<boolean> {
    return isOnRecord(this.database, position, EVENTS_RESUMABLE_MS);
  }

  /**
   * The next events behind a place that pass a filter, some hundreds at most.
   * @throws EventsGoneError
   */
  async behind(after: EventPosition, filter: EventFilter): Promise<EventsRead> {
    const [since, head] = [this.#since, this.#head];
    if (since === undefined || head === undefined || !isBehind(head, after)) return { events: [], upTo: after };
    if (isBehind(since, after)) {
      const rows = await eventsBetween(this.database, after, head, filter, PAGE);
      // Afterwards: a reader may be so slow that what it is to read next was removed meanwhile.
      if (!(await this.isResumable(after))) throw new EventsGoneError(`what is behind ${cursorOf(after)} was removed`);
      return readOf(rows.map(streamedEvent), head);
    }
    const events: StreamedEvent[] = [];
    for (let index = this.#firstBehind(after); index < this.#recent.length && events.length < PAGE; index += 1) {
      const event = this.#recent[index];
      if (event !== undefined && passes(event, filter)) events.push(event);
    }
    return readOf(events, head);
  }

  /** Resolves when there is something behind a place, or when the signal says so. */
  async news(after: EventPosition, signal: AbortSignal): Promise<void> {
    if (signal.aborted || (this.#head !== undefined && isBehind(this.#head, after))) return;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        this.#waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }

  #firstBehind(after: EventPosition): number {
    let [low, high] = [0, this.#recent.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const event = this.#recent[middle];
      if (event !== undefined && isBehind(event.position, after)) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  async #read(): Promise<void> {
    for (;;) {
      const { rows, areMoreHidden } = await eventsBehind(this.database, this.#head ?? { xid: 0n, id: 0n }, PAGE);
      if (rows.length > 0) this.#take(rows);
      if (rows.length === PAGE) continue;
      // Who ends the transaction that hides them may have nothing to tell, and then nobody tells that it has ended.
      this.#pauseMs =
        areMoreHidden && rows.length === 0 ? Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS) : FIRST_PAUSE_MS;
      clearTimeout(this.#timer);
      if (areMoreHidden) this.#timer = setTimeout(() => this.#follower.refresh(), this.#pauseMs);
      return;
    }
  }

  #take(rows: readonly EventRow[]): void {
    this.#recent.push(...rows.map(streamedEvent));
    const gone = this.#recent.splice(0, Math.max(0, this.#recent.length - MAX_IN_MEMORY));
    this.#since = gone.at(-1)?.position ?? this.#since;
    this.#head = rows.at(-1)?.position ?? this.#head;
    for (const wake of [...this.#waiting]) wake();
  }
}

/** A page that is full may have more behind it. */
function readOf(events: readonly StreamedEvent[], head: EventPosition): EventsRead {
  const last = events.at(-1);
  return { events, upTo: events.length < PAGE || last === undefined ? head : last.position };
}
