import { setTimeout as delay } from 'node:timers/promises';
import { devicePageSchema, type Device, type DevicePage } from '@muster/contract';
import { reconnectDelayMs, SHORT_LIVED_MS } from '@muster/broker';
import { ApiError, callApi, type ApiTarget } from '../api-client.ts';
import type { Feed } from './feed.ts';
import type { DeviceFilter } from './filters.ts';
import { type LiveReadings } from '@muster/contract';
import { alertPageSchema, type AlertPage, type FiringAlert } from './firing-alerts.ts';
import { readLiveStream } from './live-stream.ts';
import type { WatchedReading, WatchEvent } from './watch-model.ts';

/** Presence and names while values come by themselves. */
const DEVICES_EVERY_MS = 3_000;
/** Values too, where the API has no stream of them. */
const POLL_EVERY_MS = 1_000;
const ALERTS_EVERY_MS = 2_000;
/** More alerts than these fire: nobody reads them in a terminal. */
const MAX_ALERT_PAGES = 10;

/** What the API is asked for. */
export interface ApiFeedOptions {
  readonly target: ApiTarget;
  readonly filter: DeviceFilter;
}

/** Devices, live values and alerts through the API. */
export function apiFeed(options: ApiFeedOptions): Feed {
  return async (tell, signal) => {
    const ended = new AbortController();
    const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    const reader = new ApiReader(
      options,
      (event) => tell({ ...event, receivedAtMs: Date.now() }),
      AbortSignal.any([signal, ended.signal]),
    );
    try {
      // Who leaves does not wait for an answer that is under way.
      await Promise.race([reader.run(), aborted]);
    } finally {
      ended.abort();
    }
  };
}

/** One run of the feed. Three things go on at once; a fault of each is its own. */
class ApiReader {
  readonly #options: ApiFeedOptions;
  readonly #tell: (event: WatchEvent) => void;
  readonly #signal: AbortSignal;
  /** What was told last of each device, to tell only what changed. */
  readonly #told = new Map<string, string>();
  /** By device and metric: when the newest value that was read from the list of devices was taken. */
  readonly #readAtMs = new Map<string, number>();
  readonly #faults: { devices?: string; live?: string } = {};
  /** How values come: not known yet, by the stream, or with the list of devices. */
  #values: 'unknown' | 'stream' | 'list' = 'unknown';
  #hasLoaded = false;
  #isStreamOpen = false;
  /** Whether values may have come that no stream told. */
  #hasGap = true;
  /** Ends the pause before the list is read the next time. */
  #wake = new AbortController();

  constructor(options: ApiFeedOptions, tell: (event: WatchEvent) => void, signal: AbortSignal) {
    this.#options = options;
    this.#tell = tell;
    this.#signal = signal;
  }

  async run(): Promise<void> {
    const { url } = this.#options.target;
    this.#tell({ kind: 'feed', feed: { state: 'connecting', text: `connecting to ${url}` } });
    await Promise.all([this.#readDevices(), this.#readLive(), this.#readAlerts()]);
  }

  /** Asked anew after each wait: the compiler takes the field for unchanged. */
  #isOver(): boolean {
    return this.#signal.aborted;
  }

  /** Sleeps, unless it is aborted or woken. */
  async #pause(milliseconds: number, wake?: AbortSignal): Promise<void> {
    const signal = wake === undefined ? this.#signal : AbortSignal.any([this.#signal, wake]);
    // Its only error is that it was ended.
    await delay(milliseconds, undefined, { signal }).catch(() => undefined);
  }

  #sayState(): void {
    const { url } = this.#options.target;
    const fault = this.#faults.devices ?? this.#faults.live;
    if (fault !== undefined) this.#tell({ kind: 'feed', feed: { state: 'away', text: fault } });
    else if (this.#values === 'stream') this.#tell({ kind: 'feed', feed: { state: 'live', text: `live from ${url}` } });
    else if (this.#values === 'list')
      this.#tell({
        kind: 'feed',
        feed: { state: 'polling', text: `${url} has no live values: asking for all devices every second` },
      });
  }

  async #readDevices(): Promise<void> {
    let failedAttempts = 0;
    while (!this.#isOver()) {
      try {
        const wasOpen = this.#isStreamOpen;
        const devices = await this.#loadDevices();
        failedAttempts = 0;
        this.#tellDevices(devices);
        this.#hasLoaded = true;
        if (wasOpen && this.#isStreamOpen) this.#hasGap = false;
        delete this.#faults.devices;
        this.#sayState();
        const everyMs = this.#values === 'list' ? POLL_EVERY_MS : DEVICES_EVERY_MS;
        await this.#pause(everyMs, this.#wake.signal);
      } catch (error) {
        if (this.#isOver()) return;
        if (!(error instanceof ApiError) || this.#isHopeless(error)) throw error;
        const waitMs = reconnectDelayMs({ failedAttempts, shortLived: 0 }, Math.random());
        failedAttempts += 1;
        this.#faults.devices = `${error.message}; trying again in ${(waitMs / 1000).toFixed(1)} s`;
        this.#sayState();
        await this.#pause(waitMs);
      }
    }
  }

  /** Whether an error will come again each time: a refusal at the very beginning. */
  #isHopeless({ status }: ApiError): boolean {
    return !this.#hasLoaded && status !== undefined && status < 500;
  }

  async #loadDevices(): Promise<readonly Device[]> {
    const devices: Device[] = [];
    for (let cursor: string | null | undefined; cursor !== null && !this.#isOver();) {
      const query = new URLSearchParams({ limit: '1000', ...(cursor === undefined ? {} : { cursor }) });
      const path = `/devices?${query.toString()}`;
      const page: DevicePage = await callApi(this.#options.target, 'GET', path, devicePageSchema);
      devices.push(...page.items);
      cursor = page.next;
    }
    return devices;
  }

  #tellDevices(devices: readonly Device[]): void {
    const { filter } = this.#options;
    const shown = devices.filter(({ id, readings }) => filter.hasDevice(id, Object.keys(readings)));
    const ids = new Set<string>(shown.map(({ id }) => id));
    for (const device of this.#told.keys()) {
      if (ids.has(device)) continue;
      this.#told.delete(device);
      this.#tell({ kind: 'removed', device });
    }
    for (const device of shown) {
      const { id, name, presence } = device;
      const told = JSON.stringify([name, presence]);
      if (this.#told.get(id) !== told) {
        this.#told.set(id, told);
        this.#tell({ kind: 'named', device: id, name });
        const { state, reason, explanation, session, since } = presence;
        const sinceMs = since === null ? null : Date.parse(since);
        this.#tell({
          kind: 'presence',
          device: id,
          presence: { state, reason, explanation, session, sinceMs, replay: 'stored' },
        });
      }
      this.#tellReadings(device);
    }
  }

  /** The values of the list: all at first, later those that are newer; none while a stream tells all. */
  #tellReadings({ id, readings }: Device): void {
    if (!this.#hasGap) return;
    const isPolled = this.#hasLoaded && this.#values === 'list';
    const fresh: WatchedReading[] = [];
    for (const [metric, { value, unit, at }] of Object.entries(readings)) {
      if (!this.#options.filter.hasReading(id, metric)) continue;
      const key = `${id}/${metric}`;
      const atMs = Date.parse(at);
      if (atMs <= (this.#readAtMs.get(key) ?? Number.NEGATIVE_INFINITY)) continue;
      this.#readAtMs.set(key, atMs);
      const receivedAtMs = Date.now();
      const replay = isPolled ? null : 'stored';
      fresh.push({ metric, value, unit, atMs, receivedAtMs, qos: null, replay, late: false });
    }
    if (fresh.length > 0) this.#tell({ kind: 'readings', device: id, readings: fresh });
  }

  /** Reads the list of devices at once. */
  #loadNow(): void {
    this.#wake.abort();
    this.#wake = new AbortController();
  }

  async #readLive(): Promise<void> {
    const lost = { failedAttempts: 0, shortLived: 0 };
    while (!this.#isOver()) {
      let openedAtMs: number | undefined;
      const onOpen = (): void => {
        openedAtMs = Date.now();
        lost.failedAttempts = 0;
        this.#isStreamOpen = true;
        this.#values = 'stream';
        delete this.#faults.live;
        // Values do not resume: what was missed before stands in the list.
        this.#loadNow();
        this.#sayState();
      };
      const onReadings = (batch: LiveReadings): void => this.#tellBatch(batch);
      try {
        const { target, filter } = this.#options;
        await readLiveStream(target, filter.exact, { onOpen, onReadings }, this.#signal);
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        this.#isStreamOpen = false;
        this.#hasGap = true;
        if (error.status === 404) {
          this.#values = 'list';
          delete this.#faults.live;
          this.#loadNow();
          return;
        }
        if (openedAtMs === undefined) lost.failedAttempts += 1;
        lost.shortLived =
          openedAtMs !== undefined && Date.now() - openedAtMs < SHORT_LIVED_MS ? lost.shortLived + 1 : 0;
        const waitMs = reconnectDelayMs(lost, Math.random());
        this.#faults.live = `no live values: ${error.message}; trying again in ${(waitMs / 1000).toFixed(1)} s`;
        // Before the list has been read its own errors tell more.
        if (this.#hasLoaded) this.#sayState();
        await this.#pause(waitMs);
      }
    }
  }

  #tellBatch({ readings }: LiveReadings): void {
    const receivedAtMs = Date.now();
    const byDevice = new Map<string, WatchedReading[]>();
    for (const { device, metric, value, unit, at, qos, late } of readings) {
      if (!this.#options.filter.hasReading(device, metric)) continue;
      const own = byDevice.get(device) ?? [];
      own.push({ metric, value, unit, atMs: at, receivedAtMs, qos, replay: null, late });
      byDevice.set(device, own);
    }
    for (const [device, own] of byDevice) this.#tell({ kind: 'readings', device, readings: own });
  }

  async #readAlerts(): Promise<void> {
    while (!this.#isOver()) {
      try {
        this.#tell({ kind: 'alerts', firing: await this.#loadAlerts() });
      } catch (error) {
        if (this.#isOver()) return;
        if (!(error instanceof ApiError)) throw error;
        const fault = error.status === 404 ? 'this Muster has none' : error.message;
        this.#tell({ kind: 'no-alerts', fault });
      }
      await this.#pause(ALERTS_EVERY_MS);
    }
  }

  async #loadAlerts(): Promise<readonly FiringAlert[]> {
    const firing: FiringAlert[] = [];
    let cursor: string | null | undefined;
    for (let pages = 0; cursor !== null && pages < MAX_ALERT_PAGES; pages += 1) {
      const query = new URLSearchParams({ state: 'firing', ...(cursor === undefined ? {} : { cursor }) });
      const page: AlertPage = await callApi(
        this.#options.target,
        'GET',
        `/alerts?${query.toString()}`,
        alertPageSchema,
      );
      firing.push(...page.items);
      cursor = page.next;
    }
    return firing;
  }
}
