import type { FleetView } from './fleet-view.ts';

/** A time in which nobody listened; `untilMs` is Infinity while it lasts. */
export interface DeafTime {
  readonly fromMs: number;
  readonly untilMs: number;
}

/** A clock that is wrong by less is not set right by a jump that matters here. */
export const CLOCK_TOLERANCE_MS = 5 * 60_000;
/** Activity is looked at every ten seconds; when that was not done for so long, it could not be. */
const LOOK_GAP_MS = 25_000;
const MAX_DEAF_TIMES = 50;

/**
 * From when silence counts that began at a time: what nobody listened to is no silence. Infinity while nobody listens.
 */
export function countedSinceMs(sinceMs: number, deaf: readonly DeafTime[]): number {
  let counted = sinceMs;
  let seenMs = sinceMs;
  for (const { fromMs, untilMs } of [...deaf].sort((one, other) => one.fromMs - other.fromMs)) {
    const beginMs = Math.max(fromMs, seenMs);
    if (untilMs <= beginMs) continue;
    counted += untilMs - beginMs;
    seenMs = untilMs;
  }
  return counted;
}

/**
 * Whether a value is newer than what is known, by the clock of its device. What a clock said that was wrong, and is set
 * right since, is neither newer nor older: it goes.
 */
export function isNewer(atMs: number, knownMs: number | undefined, nowMs: number): boolean {
  if (knownMs === undefined) return true;
  const wrongMs = nowMs + CLOCK_TOLERANCE_MS;
  if (knownMs > wrongMs !== atMs > wrongMs) return knownMs > wrongMs;
  return atMs > knownMs;
}

/** When devices were heard, and when nobody listened to them. */
export class Hearing {
  /** By source, when each device was heard: by our clock, and by its own. */
  readonly #heard = new Map<string, Map<string, number>>();
  readonly #newest = new Map<string, Map<string, number>>();
  /** By broker, when ingestion was not there. */
  readonly #deaf = new Map<string, readonly DeafTime[]>();
  /** When activity could not be read. */
  #unlooked: readonly DeafTime[] = [];
  #lookedMs: number | undefined;

  constructor(private readonly fleet: FleetView) {}

  /** Takes that a device was heard; answers whether it has not been heard later. */
  hear(source: string, device: string, heardMs: number): boolean {
    const heard = mapOf(this.#heard, source);
    if ((heard.get(device) ?? 0) >= heardMs) return false;
    heard.set(device, heardMs);
    return true;
  }

  /** Takes the newest reading. */
  read(source: string, device: string, atMs: number): void {
    mapOf(this.#newest, source).set(device, atMs);
  }

  /** Takes a last value; answers whether it is news, see {@link isNewer}. */
  readAgain(source: string, device: string, atMs: number, nowMs: number): boolean {
    const newest = mapOf(this.#newest, source);
    const isNews = isNewer(atMs, newest.get(device), nowMs);
    if (isNews) newest.set(device, atMs);
    return isNews;
  }

  /** Takes that ingestion listens to a broker since a time, or that it does not. */
  ingestion(broker: string, isListening: boolean, sinceMs: number): void {
    const times = this.#deaf.get(broker) ?? [];
    const last = times.at(-1);
    const isDeaf = last?.untilMs === Number.POSITIVE_INFINITY;
    if (last !== undefined && isDeaf !== isListening) return;
    // How long ingestion was away before we were told of it for the first time is not known.
    const fromMs = isDeaf ? last.fromMs : last === undefined ? 0 : sinceMs;
    const time = { fromMs, untilMs: isListening ? sinceMs : Number.POSITIVE_INFINITY };
    this.#deaf.set(broker, [...(isDeaf ? times.slice(0, -1) : times), time].slice(-MAX_DEAF_TIMES));
  }

  /** Takes that the activity of all devices is known until a time. */
  looked(untilMs: number): void {
    const fromMs = this.#lookedMs;
    if (fromMs !== undefined && untilMs - fromMs > LOOK_GAP_MS)
      this.#unlooked = [...this.#unlooked, { fromMs, untilMs }].slice(-MAX_DEAF_TIMES);
    this.#lookedMs = untilMs;
  }

  /** Until when it is known whether a device was heard. */
  knownUntilMs(source: string, nowMs: number): number {
    return source === 'heard' ? (this.#lookedMs ?? Number.NEGATIVE_INFINITY) : nowMs;
  }

  /** When a device was heard the last time; undefined where it never was. */
  heardMs(source: string, device: string): number | undefined {
    return this.#heard.get(source)?.get(device);
  }

  /** Since when the silence of a device counts; undefined where it does not. */
  silentSinceMs(source: string, device: string): number | undefined {
    const heardMs = this.heardMs(source, device);
    // Not every device has every metric; but who is connected is to send something.
    if (heardMs === undefined && source !== 'heard') return undefined;
    const sinceMs = this.fleet.silentSinceMs(device, heardMs);
    return sinceMs === undefined ? undefined : this.#counted(source, device, sinceMs);
  }

  /** Since when nothing has come from a device, whatever the reason; undefined where nobody can know. */
  quietSinceMs(source: string, device: string): number | undefined {
    return this.fleet.isAway(device) ? undefined : this.#counted(source, device, this.heardMs(source, device) ?? 0);
  }

  /** Forgets a device. */
  forget(device: string): void {
    for (const known of [...this.#heard.values(), ...this.#newest.values()]) known.delete(device);
  }

  /** Forgets what nobody asks for any more. */
  keep(isUsed: (source: string) => boolean): void {
    for (const source of this.#heard.keys()) if (!isUsed(source)) this.#heard.delete(source);
    for (const source of this.#newest.keys()) if (!isUsed(source)) this.#newest.delete(source);
    if (!isUsed('heard')) this.#lookedMs = undefined;
  }

  #counted(source: string, device: string, sinceMs: number): number | undefined {
    const broker = this.fleet.devices.get(device)?.broker;
    const deaf = broker == null ? [] : (this.#deaf.get(broker) ?? []);
    const countedMs = countedSinceMs(sinceMs, source === 'heard' ? [...deaf, ...this.#unlooked] : deaf);
    return Number.isFinite(countedMs) ? countedMs : undefined;
  }
}

function mapOf(maps: Map<string, Map<string, number>>, key: string): Map<string, number> {
  const known = maps.get(key);
  if (known !== undefined) return known;
  const made = new Map<string, number>();
  maps.set(key, made);
  return made;
}
