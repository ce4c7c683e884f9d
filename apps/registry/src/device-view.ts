import type {
  Device,
  DeviceId,
  DeviceInfo,
  Evidence,
  LifeState,
  Presence,
  PresenceReason,
  PresenceState,
} from '@muster/contract';

/** A device with all that is known of it, as one row of the database. */
export interface DeviceRow {
  readonly id: DeviceId;
  readonly state: LifeState;
  readonly name: string | null;
  readonly description: string | null;
  readonly info: DeviceInfo | null;
  readonly discovered_at: Date;
  readonly updated_at: Date;
  readonly last_telemetry_at: Date | null;
  /** The last live word on its status topics; a will is the broker's word. */
  readonly last_status_at: Date | null;
  readonly presence: {
    readonly state: PresenceState;
    readonly reason: PresenceReason;
    readonly since_ms: number;
    readonly session: number | null;
    readonly wake_ms: number | null;
    readonly evidence: Evidence;
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
  overslept: 'The device said when it would wake, and did not come back in time.',
  expired: 'What the device said was valid for a time that is over, and was not said again.',
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
  };
}

/** The device as the API shows it. */
export function deviceOf(row: DeviceRow): Device {
  const heardMs = Math.max(row.last_telemetry_at?.getTime() ?? 0, row.last_status_at?.getTime() ?? 0);
  return {
    id: row.id,
    state: row.state,
    name: row.name,
    description: row.description,
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
  };
}
