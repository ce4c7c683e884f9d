import {
  presenceStateSchema,
  type Device,
  type DeviceId,
  type DeviceInfo,
  type Evidence,
  type FleetSummary,
  type LifeState,
  type Presence,
  type PresenceCount,
  type PresenceFlag,
  type PresenceReason,
  type PresenceState,
  type Traffic,
} from '@muster/contract';

/** A device with all that is known of it, as one row of the database. */
export interface DeviceRow {
  readonly id: DeviceId;
  readonly state: LifeState;
  readonly name: string | null;
  readonly description: string | null;
  readonly tags: readonly string[];
  readonly groups: readonly string[];
  readonly info: DeviceInfo | null;
  readonly discovered_at: Date;
  readonly updated_at: Date;
  readonly replaced_at: Date | null;
  readonly replacements: number;
  readonly last_telemetry_at: Date | null;
  readonly traffic: (Omit<Traffic, 'runawaySince'> & { readonly runaway_ms: number | null }) | null;
  /** The last live word on its status topics; a will is the broker's word. */
  readonly last_status_at: Date | null;
  readonly presence: {
    readonly state: PresenceState;
    readonly reason: PresenceReason;
    readonly since_ms: number;
    readonly session: number | null;
    readonly wake_ms: number | null;
    readonly evidence: Evidence;
    readonly flags: readonly {
      readonly flag: PresenceFlag['flag'];
      readonly sinceMs: number;
      readonly evidence: string;
    }[];
  } | null;
  readonly readings: Readonly<
    Record<string, { readonly value: number | boolean | string; readonly unit: string | null; readonly at_ms: number }>
  >;
}

const EXPLANATIONS: Readonly<Record<PresenceReason, string>> = {
  birth: 'The device said that it is online.',
  will: 'The broker published the will of the device, or it said offline without a reason: the connection broke.',
  shutdown: 'The device said that it shuts down.',
  sleep: 'The device said that it goes to sleep.',
  update: 'The device said that it goes offline for an update.',
  telemetry: 'The device sends telemetry: it is connected, whatever was said before.',
  silent: 'The device is connected, and has missed at least two of the messages that it sends regularly.',
  overslept: 'The device said when it would wake, and did not come back in time.',
  expired: 'What the device said was valid for a time that is over, and was not said again.',
  'broker-lost': 'Its broker cannot be reached, so nobody knows whether the device is there.',
  'broker-restarted': 'Its broker was started anew, and the device has time to connect to it again.',
  'broker-back': 'Its broker is heard again, and has said nothing of the device meanwhile: it is what it was before.',
  'not-back': 'Its broker was started anew, and the device has not connected to it since.',
  'never-heard': 'The device has sent no status yet; only its telemetry or its info has been seen.',
};

/** A reason as a sentence. */
export function explanationOf(reason: PresenceReason): string {
  return EXPLANATIONS[reason];
}

function presenceOf(row: DeviceRow['presence']): Presence {
  if (row === null) {
    return {
      state: 'unknown',
      reason: 'never-heard',
      explanation: EXPLANATIONS['never-heard'],
      since: null,
      session: null,
      wakeExpectedAt: null,
      evidence: null,
      flags: [],
    };
  }
  return {
    state: row.state,
    reason: row.reason,
    explanation: EXPLANATIONS[row.reason],
    since: new Date(row.since_ms).toISOString(),
    session: row.session,
    wakeExpectedAt: row.wake_ms === null ? null : new Date(row.wake_ms).toISOString(),
    evidence: row.evidence,
    flags: row.flags.map(({ flag, sinceMs, evidence }) => ({ flag, since: new Date(sinceMs).toISOString(), evidence })),
  };
}

function trafficOf(row: DeviceRow['traffic']): Traffic | null {
  if (row === null) return null;
  const { runaway_ms, ...traffic } = row;
  return { ...traffic, runawaySince: runaway_ms === null ? null : new Date(runaway_ms).toISOString() };
}

/** The device as the API shows it. */
export function deviceOf(row: DeviceRow): Device {
  const heardMs = Math.max(row.last_telemetry_at?.getTime() ?? 0, row.last_status_at?.getTime() ?? 0);
  return {
    id: row.id,
    state: row.state,
    name: row.name,
    description: row.description,
    tags: [...row.tags],
    groups: [...row.groups],
    discoveredAt: row.discovered_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
    lastSeenAt: heardMs === 0 ? null : new Date(heardMs).toISOString(),
    presence: presenceOf(row.presence),
    readings: Object.fromEntries(
      Object.entries(row.readings).map(([metric, { value, unit, at_ms }]) => [
        metric,
        { value, unit, at: new Date(at_ms).toISOString() },
      ]),
    ),
    info: row.info,
    traffic: trafficOf(row.traffic),
    replacedAt: row.replaced_at?.toISOString() ?? null,
    replacements: row.replacements,
  };
}

/** How many devices with a group or broker (null: without one) are in a presence state; null where none is at all. */
export interface CountRow {
  readonly name: string | null;
  readonly state: PresenceState | null;
  readonly count: number;
}

function countOf(rows: readonly CountRow[]): PresenceCount {
  const presence = Object.fromEntries(
    presenceStateSchema.options.map((state) => [
      state,
      rows.filter((row) => row.state === state).reduce((sum, { count }) => sum + count, 0),
    ]),
  ) as Record<PresenceState, number>;
  return { devices: rows.reduce((sum, { count }) => sum + count, 0), presence };
}

/** By name, those without one at the end. */
function countsByName(rows: readonly CountRow[]): FleetSummary['byGroup'] {
  const names = [...new Set(rows.map(({ name }) => name))];
  return names
    .sort((one, other) => (one === null ? 1 : other === null ? -1 : one < other ? -1 : 1))
    .map((name) => ({ name, ...countOf(rows.filter((row) => row.name === name)) }));
}

/** Counts over the fleet from those by broker, in which each device is once, and those by group. */
export function summaryOf(byBroker: readonly CountRow[], byGroup: readonly CountRow[]): FleetSummary {
  return { ...countOf(byBroker), byGroup: countsByName(byGroup), byBroker: countsByName(byBroker) };
}
