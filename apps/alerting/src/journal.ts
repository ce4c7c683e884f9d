import pRetry from 'p-retry';
import { openKey, type AlertRecord, type EventRecord, type NotificationRecord } from './alert-record.ts';
import type { FigureRecord } from './broker-figures.ts';
import type { OutageRecord } from './fleet-view.ts';
import type { MaintenanceEntry, SilenceEntry } from './mutes.ts';

/** What is to be written at once: all of it, or nothing. */
export interface Batch {
  /** Resolved ones first: each rule and subject has one open alert at most. */
  readonly alerts: readonly AlertRecord[];
  /** Alerts that were pending and never fired. */
  readonly cancelled: readonly string[];
  readonly events: readonly EventRecord[];
  readonly told: readonly { readonly receiver: string; readonly alert: string }[];
  readonly untold: readonly { readonly receiver: string; readonly alert: string }[];
  readonly notifications: readonly NotificationRecord[];
  readonly silences: readonly SilenceEntry[];
  readonly windows: readonly MaintenanceEntry[];
  readonly removedWindows: readonly string[];
  /** Up to which row of what automation asks to tell this is; undefined where it has not changed. */
  readonly noticePosition: bigint | undefined;
  readonly figures: readonly FigureRecord[];
  readonly outages: readonly OutageRecord[];
}

/** Where batches go. */
export interface BatchStore {
  readonly write: (batch: Batch) => Promise<void>;
  /** Whether an error says that the same batch will never be taken. */
  readonly isHopeless: (error: unknown) => boolean;
}

/** Changes come in bursts, and each commit costs the same. */
const GATHER_MS = 5;

class Pages {
  readonly alerts = new Map<string, AlertRecord>();
  readonly cancelled = new Set<string>();
  readonly events: EventRecord[] = [];
  readonly told = new Map<string, { readonly receiver: string; readonly alert: string; readonly isTold: boolean }>();
  readonly notifications: NotificationRecord[] = [];
  readonly silences = new Map<string, SilenceEntry>();
  readonly windows = new Map<string, MaintenanceEntry | undefined>();
  noticePosition: bigint | undefined;
  readonly figures = new Map<string, FigureRecord>();
  readonly outages: OutageRecord[] = [];

  batch(): Batch {
    const alerts = [...this.alerts.values()];
    const told = [...this.told.values()];
    const windows = [...this.windows];
    return {
      alerts: [
        ...alerts.filter(({ state }) => state === 'resolved'),
        ...alerts.filter(({ state }) => state !== 'resolved'),
      ],
      cancelled: [...this.cancelled],
      events: this.events,
      told: told.filter(({ isTold }) => isTold).map(({ receiver, alert }) => ({ receiver, alert })),
      untold: told.filter(({ isTold }) => !isTold).map(({ receiver, alert }) => ({ receiver, alert })),
      notifications: this.notifications,
      silences: [...this.silences.values()],
      windows: windows.flatMap(([, window]) => window ?? []),
      removedWindows: windows.filter(([, window]) => window === undefined).map(([name]) => name),
      noticePosition: this.noticePosition,
      figures: [...this.figures.values()],
      outages: this.outages,
    };
  }
}

/**
 * What has changed in memory, on its way into the database: gathered for some milliseconds, the newest state of each
 * alert, one transaction after the other, for as long as PostgreSQL is away. Nobody is told of anything that is not on
 * record.
 */
export class Journal {
  #pages = new Pages();
  #waiting: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  #isEmpty = true;
  #working: Promise<void> | undefined;
  readonly #abort = new AbortController();

  constructor(
    private readonly store: BatchStore,
    private readonly onCommitted: (notifications: readonly NotificationRecord[]) => void,
    private readonly onFailure: (error: Error, isHopeless: boolean) => void,
  ) {}

  /** Takes the newest state of an alert. */
  alert(record: AlertRecord): void {
    this.#open().alerts.set(record.id, record);
  }

  /** Takes that a pending alert has not fired. */
  cancelled(id: string): void {
    const pages = this.#open();
    pages.alerts.delete(id);
    pages.cancelled.add(id);
  }

  /** Takes an entry of an alert's history. */
  event(event: EventRecord): void {
    this.#open().events.push(event);
  }

  /** Takes that a receiver knows of an alert, or that it need not know any more. */
  told(receiver: string, alert: string, isTold: boolean): void {
    this.#open().told.set(openKey(receiver, alert), { receiver, alert, isTold });
  }

  /** Takes what a receiver is to be told. */
  notification(notification: NotificationRecord): void {
    this.#open().notifications.push(notification);
  }

  /** Takes the newest state of a silence. */
  silence(silence: SilenceEntry): void {
    this.#open().silences.set(silence.id, silence);
  }

  /** Takes the newest state of a maintenance window; undefined removes it. */
  window(name: string, window: MaintenanceEntry | undefined): void {
    this.#open().windows.set(name, window);
  }

  /** Takes up to which row of what automation asks to tell receivers have been told. */
  noticePosition(position: bigint): void {
    this.#open().noticePosition = position;
  }

  /** Takes the newest figure of a broker; what it leads to goes on record with it, or neither does. */
  figure(figure: FigureRecord): void {
    this.#open().figures.set(openKey(figure.broker, figure.name), figure);
  }

  /** Takes that a broker has ended and was started again. */
  outage(outage: OutageRecord): void {
    this.#open().outages.push(outage);
  }

  /** Resolves when all that was taken so far is on record; rejects where it never will be. */
  async committed(): Promise<void> {
    if (this.#isEmpty && this.#working === undefined) return;
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      // What is under way was begun before: the next batch, be it empty, is the one to wait for.
      this.#open();
    });
  }

  /** Writes what is left, once; then takes nothing more. */
  async close(): Promise<void> {
    setTimeout(() => this.#abort.abort(new Error('alerting is stopping')), 5_000).unref();
    await this.#working;
  }

  #open(): Pages {
    this.#isEmpty = false;
    this.#working ??= this.#work();
    return this.#pages;
  }

  async #work(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, GATHER_MS));
    while (!this.#isEmpty) {
      const batch = this.#pages.batch();
      const waiting = this.#waiting;
      this.#pages = new Pages();
      this.#waiting = [];
      this.#isEmpty = true;
      try {
        await pRetry(() => this.store.write(batch), {
          retries: Number.POSITIVE_INFINITY,
          minTimeout: 100,
          maxTimeout: 2_000,
          randomize: true,
          signal: this.#abort.signal,
          shouldRetry: ({ error }) => !this.store.isHopeless(error),
          onFailedAttempt: ({ error }) => this.onFailure(error, this.store.isHopeless(error)),
        });
        this.onCommitted(batch.notifications);
        for (const { resolve } of waiting) resolve();
      } catch (error) {
        // Told by onFailure; memory goes on, and each alert is written whole with its next change.
        for (const { reject } of waiting) reject(error);
      }
    }
    this.#working = undefined;
  }
}
