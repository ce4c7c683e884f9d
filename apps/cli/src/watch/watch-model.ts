import type { PresenceReason, PresenceState, ReadingValue } from '@muster/contract';
import type { FiringAlert } from './firing-alerts.ts';

/** Whether something was true some time before: a retained message, or what the API had stored. */
export type Replay = 'retained' | 'stored' | null;

/** The newest value of one metric. */
export interface WatchedReading {
  readonly metric: string;
  readonly value: ReadingValue;
  readonly unit: string | null;
  /** By the device's clock where it told a time, else of receipt. */
  readonly atMs: number;
  readonly receivedAtMs: number;
  /** As it was published; null where that is not known. */
  readonly qos: 0 | 1 | 2 | null;
  readonly replay: Replay;
  /** It waited somewhere and came after newer ones. */
  readonly late: boolean;
}

/** Whether a device is there, and why. */
export interface WatchedPresence {
  readonly state: PresenceState;
  readonly reason: PresenceReason;
  /** The reason as a sentence. */
  readonly explanation: string;
  readonly sinceMs: number | null;
  readonly session: number | null;
  readonly replay: Replay;
}

/** What is known of one device, or of one topic that belongs to none. */
export interface WatchedDevice {
  readonly id: string;
  readonly name: string | null;
  readonly presence: WatchedPresence | null;
  /** By metric, in the order in which they were first seen. */
  readonly readings: ReadonlyMap<string, WatchedReading>;
}

/** Where values come from, and whether they do. */
export interface FeedState {
  readonly state: 'connecting' | 'live' | 'polling' | 'away';
  /** Why, or what happens next, as a sentence. */
  readonly text: string;
}

/** The alerts that fire. */
export interface AlertsState {
  /** As they were last known; null before they ever were. */
  readonly firing: readonly FiringAlert[] | null;
  /** Why they are not known now. */
  readonly fault: string | null;
}

/** What a feed tells. Messages of a broker become `readings`, `presence`, `cleared` or `unreadable`, one each. */
export type WatchEvent =
  | { readonly kind: 'readings'; readonly device: string; readonly readings: readonly WatchedReading[] }
  | { readonly kind: 'presence'; readonly device: string; readonly presence: WatchedPresence }
  /** A retained message was taken away: what it said counts no longer. */
  | { readonly kind: 'cleared'; readonly device: string; readonly what: 'presence' | 'nothing' }
  | { readonly kind: 'unreadable'; readonly device: string; readonly topic: string; readonly why: string }
  | { readonly kind: 'named'; readonly device: string; readonly name: string | null }
  | { readonly kind: 'removed'; readonly device: string }
  | { readonly kind: 'alerts'; readonly firing: readonly FiringAlert[] }
  | { readonly kind: 'no-alerts'; readonly fault: string }
  | { readonly kind: 'feed'; readonly feed: FeedState };

/** An event and when it came. */
export type ReceivedEvent = WatchEvent & { readonly receivedAtMs: number };

/** What an event changed; what repeats what was known is no change. */
export type WatchChange =
  | { readonly kind: 'reading'; readonly device: string; readonly reading: WatchedReading }
  | { readonly kind: 'presence'; readonly device: string; readonly presence: WatchedPresence; readonly atMs: number }
  | { readonly kind: 'removed'; readonly device: string; readonly atMs: number }
  | {
      readonly kind: 'unreadable';
      readonly device: string;
      readonly topic: string;
      readonly why: string;
      readonly atMs: number;
    }
  | { readonly kind: 'alert'; readonly alert: FiringAlert; readonly isFiring: boolean; readonly atMs: number }
  | { readonly kind: 'feed'; readonly feed: FeedState };

/** Counts since the start. */
export interface Totals {
  readonly messages: number;
  readonly readings: number;
  /** Messages that say nothing that can be used. */
  readonly unreadable: number;
  /** Devices and metrics beyond what is kept. */
  readonly notKept: number;
}

/** All that is shown. */
export interface WatchState {
  readonly devices: ReadonlyMap<string, WatchedDevice>;
  /** Ids as they are listed: numbers in them by value. */
  readonly order: readonly string[];
  readonly totals: Totals;
  readonly lastUpdateMs: number | null;
  /** Messages and readings in each of the last seconds, the newest last. */
  readonly recent: readonly { readonly second: number; readonly messages: number; readonly readings: number }[];
  readonly alerts: AlertsState;
  readonly feed: FeedState;
}

/** Somebody may publish under as many names as they like. */
export const MAX_DEVICES = 10_000;
/** The contract's limit for a device. */
const MAX_METRICS = 64;
const RATE_SECONDS = 10;

const collator = new Intl.Collator('en', { numeric: true });

/** Ids in the order of a list: `virtual-2` before `virtual-10`, and one order for any two. */
export function compareIds(left: string, right: string): number {
  return collator.compare(left, right) || (left < right ? -1 : left > right ? 1 : 0);
}

/** Before anything has come. */
export const emptyState: WatchState = {
  devices: new Map(),
  order: [],
  totals: { messages: 0, readings: 0, unreadable: 0, notKept: 0 },
  lastUpdateMs: null,
  recent: [],
  alerts: { firing: null, fault: null },
  feed: { state: 'connecting', text: 'connecting' },
};

/** Messages and readings a second over the last ten whole seconds. */
export function ratesOf(
  { recent }: WatchState,
  startedAtMs: number,
  nowMs: number,
): { readonly messages: number; readonly readings: number } {
  const second = Math.floor(nowMs / 1000);
  const seconds = Math.min(RATE_SECONDS, second - Math.floor(startedAtMs / 1000));
  if (seconds < 1) return { messages: 0, readings: 0 };
  const counted = recent.filter((bucket) => bucket.second < second && bucket.second >= second - seconds);
  const sum = (count: (bucket: (typeof counted)[number]) => number): number =>
    counted.reduce((total, bucket) => total + count(bucket), 0) / seconds;
  return { messages: sum(({ messages }) => messages), readings: sum(({ readings }) => readings) };
}

/** A state that is being put together from a batch of events, so that maps are copied once a batch. */
interface Draft {
  readonly devices: Map<string, WatchedDevice>;
  readonly changes: WatchChange[];
  readonly totals: { -readonly [Name in keyof Totals]: number };
  lastUpdateMs: number | null;
  recent: WatchState['recent'];
  alerts: AlertsState;
  feed: FeedState;
}

/** The state after some events, and what they changed. */
export function advance(
  before: WatchState,
  events: readonly ReceivedEvent[],
): { readonly state: WatchState; readonly changes: readonly WatchChange[] } {
  const { totals, lastUpdateMs, recent, alerts, feed } = before;
  const draft: Draft = {
    devices: new Map(before.devices),
    changes: [],
    totals: { ...totals },
    lastUpdateMs,
    recent,
    alerts,
    feed,
  };
  for (const event of events) apply(draft, event);
  const hasSameDevices =
    draft.devices.size === before.devices.size && before.order.every((id) => draft.devices.has(id));
  const state: WatchState = {
    ...before,
    devices: draft.devices,
    order: hasSameDevices ? before.order : [...draft.devices.keys()].sort(compareIds),
    totals: draft.totals,
    lastUpdateMs: draft.lastUpdateMs,
    recent: draft.recent,
    alerts: draft.alerts,
    feed: draft.feed,
  };
  return { state, changes: draft.changes };
}

function apply(draft: Draft, event: ReceivedEvent): void {
  switch (event.kind) {
    case 'readings':
      count(draft, event, event.readings.length);
      applyReadings(draft, event.device, event.readings);
      return;
    case 'presence':
      count(draft, event, 0);
      applyPresence(draft, event.device, event.presence, event.receivedAtMs);
      return;
    case 'cleared': {
      count(draft, event, 0);
      const device = draft.devices.get(event.device);
      if (device !== undefined && event.what === 'presence')
        draft.devices.set(event.device, { ...device, presence: null });
      return;
    }
    case 'unreadable':
      count(draft, event, 0);
      draft.totals.unreadable += 1;
      draft.changes.push({ ...event, atMs: event.receivedAtMs });
      return;
    case 'named': {
      const device = deviceOf(draft, event.device);
      if (device !== undefined && device.name !== event.name)
        draft.devices.set(event.device, { ...device, name: event.name });
      return;
    }
    case 'removed':
      if (draft.devices.delete(event.device))
        draft.changes.push({ kind: 'removed', device: event.device, atMs: event.receivedAtMs });
      return;
    case 'alerts':
      applyAlerts(draft, event.firing, event.receivedAtMs);
      return;
    case 'no-alerts':
      draft.alerts = { ...draft.alerts, fault: event.fault };
      return;
    case 'feed':
      if (draft.feed.state !== event.feed.state || draft.feed.text !== event.feed.text)
        draft.changes.push({ kind: 'feed', feed: event.feed });
      draft.feed = event.feed;
      return;
  }
}

/** What the API had stored is no message that came. */
function isStored(event: ReceivedEvent): boolean {
  if (event.kind === 'readings') return event.readings.some(({ replay }) => replay === 'stored');
  return event.kind === 'presence' && event.presence.replay === 'stored';
}

function count(draft: Draft, event: ReceivedEvent, readings: number): void {
  if (isStored(event)) return;
  draft.totals.messages += 1;
  draft.totals.readings += readings;
  draft.lastUpdateMs = event.receivedAtMs;
  const second = Math.floor(event.receivedAtMs / 1000);
  const last = draft.recent.at(-1);
  const older = last?.second === second ? draft.recent.slice(0, -1) : draft.recent;
  const before = last?.second === second ? last : { messages: 0, readings: 0 };
  const bucket = { second, messages: before.messages + 1, readings: before.readings + readings };
  draft.recent = [...older, bucket].slice(-RATE_SECONDS - 1);
}

/** The device, made where it is new; undefined where there are too many. */
function deviceOf(draft: Draft, id: string): WatchedDevice | undefined {
  const known = draft.devices.get(id);
  if (known !== undefined) return known;
  if (draft.devices.size >= MAX_DEVICES) {
    draft.totals.notKept += 1;
    return undefined;
  }
  const device: WatchedDevice = { id, name: null, presence: null, readings: new Map() };
  draft.devices.set(id, device);
  return device;
}

/** A late or stored value tells of a time before: it never replaces a newer one. */
function isOlder(reading: WatchedReading, known: WatchedReading | undefined): boolean {
  return known !== undefined && (reading.late || reading.replay === 'stored') && reading.atMs <= known.atMs;
}

function applyReadings(draft: Draft, id: string, readings: readonly WatchedReading[]): void {
  const device = deviceOf(draft, id);
  if (device === undefined) return;
  const next = new Map(device.readings);
  for (const reading of readings) {
    const known = next.get(reading.metric);
    if (known === undefined && next.size >= MAX_METRICS) {
      draft.totals.notKept += 1;
      continue;
    }
    const isKnown = reading.replay === 'stored' && known !== undefined && reading.atMs <= known.atMs;
    if (!isKnown) draft.changes.push({ kind: 'reading', device: id, reading });
    if (!isOlder(reading, known)) next.set(reading.metric, reading);
  }
  draft.devices.set(id, { ...device, readings: next });
}

function applyPresence(draft: Draft, id: string, presence: WatchedPresence, receivedAtMs: number): void {
  const device = deviceOf(draft, id);
  if (device === undefined) return;
  const next = presence.replay === 'stored' ? presence : presenceAfter(device.presence, presence);
  const { presence: known } = device;
  const isSame =
    next === known || (known?.state === next.state && known.reason === next.reason && known.session === next.session);
  if (isSame) return;
  draft.devices.set(id, { ...device, presence: next });
  draft.changes.push({ kind: 'presence', device: id, presence: next, atMs: receivedAtMs });
}

/**
 * Presence after a status message that came from a broker, by the rules of docs/presence.md as far as they can be
 * applied without a history: a live birth wins; what belongs to an older session says nothing about the current one; a
 * will after a stated goodbye of the same session adds nothing.
 */
export function presenceAfter(before: WatchedPresence | null, said: WatchedPresence): WatchedPresence {
  if (before === null) return said;
  const isLiveBirth = said.state === 'online' && said.replay === null;
  const isOlder = said.session !== null && before.session !== null && said.session < before.session;
  if (isOlder && !isLiveBirth) return before;
  const saidGoodbye = before.state === 'offline' || before.state === 'asleep';
  const isNewSession = said.session !== null && said.session !== before.session;
  if (said.state === 'lost' && saidGoodbye && !isNewSession) return before;
  return said.session === null ? { ...said, session: before.session } : said;
}

function applyAlerts(draft: Draft, firing: readonly FiringAlert[], receivedAtMs: number): void {
  const before = draft.alerts.firing ?? [];
  const without = (list: readonly FiringAlert[], others: readonly FiringAlert[]): readonly FiringAlert[] =>
    list.filter(({ id }) => !others.some((other) => other.id === id));
  for (const alert of without(firing, before))
    draft.changes.push({ kind: 'alert', alert, isFiring: true, atMs: receivedAtMs });
  for (const alert of without(before, firing))
    draft.changes.push({ kind: 'alert', alert, isFiring: false, atMs: receivedAtMs });
  draft.alerts = { firing, fault: null };
}
