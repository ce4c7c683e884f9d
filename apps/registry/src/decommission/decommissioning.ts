import { setTimeout as delay } from 'node:timers/promises';
import type { DecommissionPreview, DecommissionReport, DeviceId, DeviceInfo } from '@muster/contract';
import { BrokerError } from '@muster/broker';
import { ProblemError } from '@muster/service';
import { DecommissionRound, type RoundParts } from './decommission-round.ts';
import { isAtRest } from './decommission-store.ts';
import { findTraces, type Traces } from './device-traces.ts';

const RESUME_EVERY_MS = 2_000;
const SAVES_EVERY_MS = 250;
/** Requests that come together are begun together, and devices that are due together share a round. */
const GATHER_MS = 10;
/** Bounds what one round holds in memory: its reports, and size and hash of each message. */
const MAX_DEVICES = 250;
const MAX_ROUNDS = 4;
const FIRST_PAUSE_MS = 2_000;
const LONGEST_PAUSE_MS = 60_000;
const CLOSE_LIMIT_MS = 3_000;

type Listener = (report: DecommissionReport) => void;

/** A device that is to be decommissioned, and who waits for that. */
interface Beginning {
  readonly device: DeviceId;
  readonly resolve: (report: DecommissionReport | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Takes devices out of service for good (the order of mqtt-pitfalls R13). What is begun is on record and goes on by
 * itself, also in another process, until it is done: verified on every broker over a fresh connection, and once more
 * after each broker has written that to disk.
 */
export class Decommissioning {
  readonly #parts: RoundParts;
  #beginnings: Beginning[] = [];
  #isBeginning = false;
  readonly #due = new Set<DeviceId>();
  readonly #running = new Set<DeviceId>();
  readonly #rounds = new Set<Promise<void>>();
  /** Of those that are not verified yet: when to go on, and the pause after that. */
  readonly #pauses = new Map<DeviceId, { readonly untilMs: number; readonly pauseMs: number }>();
  readonly #listeners = new Map<DeviceId, Set<Listener>>();
  readonly #waiting = new Set<() => void>();
  #awaitsSaves = false;
  #gathering: NodeJS.Timeout | undefined;
  #timers: readonly NodeJS.Timeout[] = [];
  readonly #closing = new AbortController();

  constructor(parts: RoundParts) {
    this.#parts = parts;
  }

  /** Goes on with what is begun and not done, now and whenever there is something. */
  start(): void {
    void this.#resume();
    this.#timers = [
      setInterval(() => void this.#resume(), RESUME_EVERY_MS),
      setInterval(() => void this.#followSaves(), SAVES_EVERY_MS),
    ];
  }

  /** Requests that wait for a verification are answered as it stands, so that the server can close. */
  onModuleDestroy(): void {
    for (const answer of [...this.#waiting]) answer();
  }

  /** Begins nothing more, and ends the rounds under way with the step that they are at. */
  async close(): Promise<void> {
    this.#closing.abort();
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#gathering);
    // A broker that hangs is not waited for: what is not on record is done by the next process.
    await Promise.race([Promise.allSettled(this.#rounds), delay(CLOSE_LIMIT_MS, undefined, { ref: false })]);
  }

  /**
   * Decommissions a device, and answers with the report when it is verified, or as it is when `waitMs` has passed. One
   * that is done is looked at again: its report comes back where nothing reappeared, and what did is cleared.
   * @throws ProblemError 404
   */
  async decommission(id: DeviceId, waitMs: number): Promise<DecommissionReport> {
    const begun = await new Promise<DecommissionReport | undefined>((resolve, reject) => {
      this.#beginnings.push({ device: id, resolve, reject });
      void this.#begin();
    });
    if (begun === undefined) throw unknownDevice(id);
    const isLookedAtAgain = isAtRest(begun, this.#parts.managed);
    if (begun.state !== 'incomplete' && !isLookedAtAgain) return begun;
    const verified = waitMs === 0 ? undefined : this.#whenVerified(id, waitMs);
    this.#push([id]);
    return verified === undefined ? begun : ((await verified) ?? (await this.report(id)));
  }

  /** The report when the device is verified; undefined when that takes too long. */
  async #whenVerified(id: DeviceId, waitMs: number): Promise<DecommissionReport | undefined> {
    const listeners = this.#listeners.get(id) ?? new Set();
    this.#listeners.set(id, listeners);
    return new Promise((resolve) => {
      const finish = (report: DecommissionReport | undefined): void => {
        clearTimeout(timer);
        this.#waiting.delete(giveUp);
        listeners.delete(listener);
        if (listeners.size === 0 && this.#listeners.get(id) === listeners) this.#listeners.delete(id);
        resolve(report);
      };
      const listener: Listener = (report) => {
        if (report.state !== 'incomplete') finish(report);
      };
      const giveUp = (): void => finish(undefined);
      const timer = setTimeout(giveUp, waitMs);
      this.#waiting.add(giveUp);
      listeners.add(listener);
    });
  }

  /**
   * What decommissioning a device would do.
   * @throws ProblemError 404
   */
  async preview(id: DeviceId): Promise<DecommissionPreview> {
    const { brokers, accounts, store, database } = this.#parts;
    const device = await database.device.findUnique({ where: { id } });
    if (device === null) throw unknownDevice(id);
    const scope = (await store.scopes([{ device: id, info: device.info as DeviceInfo | null }])).get(id);
    const faults: string[] = [];
    const traces: Traces[] = [];
    await Promise.all(
      brokers.map(async (broker) => {
        try {
          if (scope !== undefined) traces.push(await findTraces(broker, [scope]));
        } catch (error) {
          if (!(error instanceof BrokerError)) throw error;
          faults.push(`${broker.name}: not looked at: ${error.message}`);
        }
      }),
    );
    const kept = traces.flatMap((one) => one.kept.get(id) ?? []);
    return {
      device: id,
      hasAccount: await accounts.has(id),
      filters: [...(scope?.filters ?? [])],
      wouldClear: traces.flatMap((one) => one.own.get(id) ?? []),
      wouldKeep: [...new Map(kept.map((one) => [one.topic, one])).values()],
      faults,
    };
  }

  /**
   * The report of an earlier decommissioning.
   * @throws ProblemError 404
   */
  async report(id: DeviceId): Promise<DecommissionReport> {
    const report = await this.#parts.store.find(id);
    if (report === undefined) throw new ProblemError(404, `${id} has not been decommissioned`);
    return report;
  }

  /** One transaction at a time: what comes meanwhile is begun together in the next. */
  async #begin(): Promise<void> {
    if (this.#isBeginning) return;
    this.#isBeginning = true;
    try {
      while (this.#beginnings.length > 0) {
        const together = this.#beginnings.splice(0, MAX_DEVICES);
        try {
          const reports = await this.#parts.store.begin([...new Set(together.map(({ device }) => device))]);
          for (const { device, resolve } of together) resolve(reports.get(device));
        } catch (error) {
          for (const { reject } of together) reject(error);
        }
      }
    } finally {
      this.#isBeginning = false;
    }
  }

  #push(devices: readonly DeviceId[]): void {
    for (const device of devices) this.#due.add(device);
    this.#gathering ??= setTimeout(() => {
      this.#gathering = undefined;
      this.#startRounds();
    }, GATHER_MS);
  }

  #startRounds(): void {
    while (!this.#closing.signal.aborted && this.#rounds.size < MAX_ROUNDS) {
      // A device in a round that was asked for again is due again when that is over.
      const devices = [...this.#due].filter((device) => !this.#running.has(device)).slice(0, MAX_DEVICES);
      if (devices.length === 0) return;
      for (const device of devices) {
        this.#due.delete(device);
        this.#running.add(device);
      }
      const round = this.#run(devices).finally(() => {
        this.#rounds.delete(round);
        this.#startRounds();
      });
      this.#rounds.add(round);
    }
  }

  async #run(devices: readonly DeviceId[]): Promise<void> {
    const { logger, managed } = this.#parts;
    try {
      const { reports, haunted } = await new DecommissionRound(this.#parts, this.#closing.signal).run(devices);
      for (const device of haunted) this.#due.add(device);
      for (const report of reports) {
        const { device, state } = report;
        if (state !== 'incomplete') this.#pauses.delete(device);
        if (state === 'verified' && managed) this.#awaitsSaves = true;
        for (const listener of this.#listeners.get(device) ?? []) listener(report);
      }
    } catch (error) {
      if (this.#closing.signal.aborted) {
        logger.info({ devices: devices.length }, 'decommissioning goes on at the next start');
        return;
      }
      // What the database does not take is tried again: nothing counts that is not on record.
      logger.warn({ err: error, devices: devices.length }, 'decommissioning is tried again');
    } finally {
      for (const device of devices) this.#running.delete(device);
    }
  }

  async #resume(): Promise<void> {
    const { store, managed, logger } = this.#parts;
    try {
      const left = new Set(await store.incomplete());
      for (const device of this.#pauses.keys()) if (!left.has(device)) this.#pauses.delete(device);
      this.#push([...left].filter((device) => this.#isDue(device)));
      if (managed && (await store.awaitsSaves())) this.#awaitsSaves = true;
    } catch (error) {
      logger.warn({ err: error }, 'which decommissionings are not done yet could not be read');
    }
  }

  /** Whether it is time to go on with a device; the pause until the next time begins with it. */
  #isDue(device: DeviceId): boolean {
    if (this.#running.has(device) || this.#due.has(device)) return false;
    const nowMs = Date.now();
    const { untilMs, pauseMs } = this.#pauses.get(device) ?? { untilMs: 0, pauseMs: FIRST_PAUSE_MS };
    if (untilMs > nowMs) return false;
    this.#pauses.set(device, { untilMs: nowMs + pauseMs, pauseMs: Math.min(pauseMs * 2, LONGEST_PAUSE_MS) });
    return true;
  }

  async #followSaves(): Promise<void> {
    if (!this.#awaitsSaves) return;
    const { store, logger } = this.#parts;
    this.#awaitsSaves = false;
    try {
      const saved = await store.saved(MAX_DEVICES * MAX_ROUNDS);
      this.#push(saved.filter((device) => this.#isDue(device)));
      this.#awaitsSaves = await store.awaitsSaves();
    } catch (error) {
      this.#awaitsSaves = true;
      logger.warn({ err: error }, 'which brokers have saved could not be read');
      await delay(SAVES_EVERY_MS);
    }
  }
}

function unknownDevice(id: DeviceId): ProblemError {
  return new ProblemError(404, `no device ${id} has been heard or registered`);
}
