import { createHash } from 'node:crypto';
import type { Command, CommandRequest, DeviceId, JsonObject, LifeState, PresenceState } from '@muster/contract';
import { Prisma } from '@muster/database';
import type { CommandRecord, CommandState, Whereabouts } from './command-machine.ts';

/** A command as one row of the database. */
export interface CommandRow {
  readonly id: string;
  readonly seq: bigint;
  readonly device: DeviceId;
  readonly name: string;
  readonly args: JsonObject;
  readonly state: CommandState['kind'];
  readonly by: string;
  readonly created_at: Date;
  readonly expires_at: Date;
  readonly sent_at: Date | null;
  readonly brokers: readonly string[];
  readonly ended_at: Date | null;
  readonly error: string | null;
  readonly late: { readonly at: string; readonly error: string | null } | null;
  readonly waits_for: string;
  readonly next_at: Date;
  readonly connection: string | null;
  readonly attempts: number;
  readonly request_hash: string;
}

/** A command together with where its device is. */
export interface LocatedRow extends CommandRow {
  readonly life: LifeState;
  readonly presence: PresenceState | null;
  readonly device_connection: string | null;
  readonly device_brokers: readonly (string | null)[];
}

/** What tells one connection of a device from another: a birth without a session number is known by its time. */
const DEVICE_CONNECTION = Prisma.sql`
  ((presence.evidence ->> 'broker') || '/' || coalesce(presence.session::text, 'since ' || extract(epoch FROM presence.since)))`;

/** Commands with where their devices are; to be followed by WHERE. */
export const LOCATED_COMMANDS = Prisma.sql`
  SELECT device_command.*, device.state AS life, presence.state AS presence, ${DEVICE_CONNECTION} AS device_connection,
         ARRAY[presence.evidence ->> 'broker', device_activity.broker, device.broker] AS device_brokers
  FROM device_command JOIN device ON device.id = device_command.device
  LEFT JOIN presence ON presence.device = device_command.device
  LEFT JOIN device_activity ON device_activity.device = device_command.device`;

/** Those for which there may be something to do: what exactly, `nextStep` says. */
export const DUE_COMMANDS = Prisma.sql`
  device_command.state IN ('queued', 'sent') AND (
    device_command.expires_at <= now()
    OR (device_command.next_at <= now() AND (device_command.state = 'queued' OR presence.state IN ('online', 'stale')))
    OR device.state NOT IN ('discovered', 'registered')
    OR (presence.state IN ('online', 'stale') AND device_command.connection IS DISTINCT FROM ${DEVICE_CONNECTION}))`;

function stateOf(row: CommandRow): CommandState {
  const atMs = row.ended_at?.getTime() ?? row.expires_at.getTime();
  switch (row.state) {
    case 'queued':
      return { kind: 'queued', waitsFor: row.waits_for, nextAtMs: row.next_at.getTime() };
    case 'sent':
      return { kind: 'sent', nextAtMs: row.next_at.getTime() };
    case 'acknowledged':
    case 'expired':
      return { kind: row.state, atMs };
    case 'failed':
      return { kind: 'failed', atMs, error: row.error ?? '' };
    case 'cancelled':
      return { kind: 'cancelled', atMs, reason: row.error ?? '' };
  }
}

/** A row as decisions take it. */
export function recordOf(row: CommandRow): CommandRecord {
  return {
    state: stateOf(row),
    expiresAtMs: row.expires_at.getTime(),
    connection: row.connection,
    attempts: row.attempts,
    isAnsweredLate: row.late !== null,
  };
}

/** Where the device of a row is. */
export function whereaboutsOf(row: LocatedRow): Whereabouts {
  return {
    life: row.life,
    presence: row.presence ?? undefined,
    connection: row.device_connection,
    brokers: row.device_brokers,
  };
}

/** A command as the API shows it. */
export function commandOf(row: CommandRow): Command {
  const state = stateOf(row);
  const common = {
    id: row.id,
    device: row.device,
    name: row.name,
    args: row.args,
    by: row.by,
    createdAt: row.created_at.toISOString(),
    expiresAt: row.expires_at.toISOString(),
    sentAt: row.sent_at?.toISOString() ?? null,
    brokers: [...row.brokers],
    late: row.late,
  };
  switch (state.kind) {
    case 'queued':
      return { ...common, state: 'queued', waitsFor: state.waitsFor };
    case 'sent':
      return { ...common, state: 'sent' };
    case 'acknowledged':
    case 'expired':
      return { ...common, state: state.kind, at: new Date(state.atMs).toISOString() };
    case 'failed':
      return { ...common, state: 'failed', at: new Date(state.atMs).toISOString(), error: state.error };
    case 'cancelled':
      return { ...common, state: 'cancelled', at: new Date(state.atMs).toISOString(), reason: state.reason };
  }
}

/** The columns of a state; those that it does not name stay. */
export function columnsOf(state: CommandState): {
  readonly state: string;
  readonly waitsFor?: string;
  readonly nextAt?: Date;
  readonly endedAt?: Date;
  readonly error?: string;
} {
  switch (state.kind) {
    case 'queued':
      return { state: state.kind, waitsFor: state.waitsFor, nextAt: new Date(state.nextAtMs) };
    case 'sent':
      return { state: state.kind, nextAt: new Date(state.nextAtMs) };
    case 'acknowledged':
    case 'expired':
      return { state: state.kind, endedAt: new Date(state.atMs) };
    case 'failed':
      return { state: state.kind, endedAt: new Date(state.atMs), error: state.error };
    case 'cancelled':
      return { state: state.kind, endedAt: new Date(state.atMs), error: state.reason };
  }
}

/** The same value for the same request, in whatever order its members are written. */
export function requestHash(request: CommandRequest): string {
  const sorted = (_: string, value: unknown): unknown =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)))
      : value;
  return createHash('sha256').update(JSON.stringify(request, sorted)).digest('hex');
}
