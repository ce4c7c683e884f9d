import type { DeadLetterReplayProgress, DeadLetterView } from '@muster/contract';
import { ProblemError } from '@muster/service';

/** A dead letter as it stands in PostgreSQL, with what of it can be read again. */
export interface DeadLetterRow {
  readonly device: string;
  readonly reason: string;
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly payload_size: number;
  readonly detail: string;
  readonly count: bigint;
  readonly settled: bigint;
  readonly first_at: Date;
  readonly last_at: Date;
  readonly replayable: number;
}

/** A replay as it stands in PostgreSQL, with what has become of it. */
export interface ReplayRow {
  readonly id: bigint;
  readonly requested_at: Date;
  readonly requested_by: string;
  readonly requested: bigint;
  readonly left: number;
  readonly stored: bigint | null;
  readonly failed: bigint | null;
  readonly ended_at: Date | null;
}

/** Where a page of dead letters ends. */
export type DeadLetterPlace = Pick<DeadLetterRow, 'last_at' | 'device' | 'reason'>;

const UNPRINTABLE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/;

/** The beginning of a payload as text; null where its bytes are none. A character that was cut at the end is left out. */
export function payloadText(payload: Uint8Array): string | null {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(payload, { stream: true });
    return UNPRINTABLE.test(text) ? null : text;
  } catch (error) {
    // Not UTF-8 (WHATWG Encoding, TextDecoder with `fatal`).
    if (error instanceof TypeError) return null;
    throw error;
  }
}

/** A dead letter as the API shows it. */
export function deadLetterView(row: DeadLetterRow): DeadLetterView {
  return {
    id: `${row.device}:${row.reason}`,
    device: row.device === '' ? null : row.device,
    ...{ reason: row.reason, detail: row.detail, topic: row.topic },
    payload: payloadText(row.payload),
    payloadBase64: Buffer.from(row.payload).toString('base64'),
    payloadBytes: row.payload_size,
    count: Number(row.count - row.settled),
    firstAt: row.first_at.toISOString(),
    lastAt: row.last_at.toISOString(),
    replayable: row.replayable,
  };
}

/** How far a replay is, as the API shows it. */
export function replayProgress(row: ReplayRow): DeadLetterReplayProgress {
  return {
    id: String(row.id),
    requestedAt: row.requested_at.toISOString(),
    by: row.requested_by,
    requested: Number(row.requested),
    left: row.ended_at === null ? row.left : 0,
    stored: Number(row.stored ?? 0),
    failedAgain: Number(row.failed ?? 0),
    endedAt: row.ended_at?.toISOString() ?? null,
  };
}

/** The cursor behind a place. */
export function cursorOf({ last_at, device, reason }: DeadLetterPlace): string {
  return Buffer.from(JSON.stringify([last_at.toISOString(), device, reason])).toString('base64url');
}

/**
 * The place of a cursor.
 * @throws ProblemError 422
 */
export function placeOf(cursor: string): DeadLetterPlace {
  const [at, device, reason] = partsOf(cursor);
  const last_at = typeof at === 'string' ? new Date(at) : new Date(Number.NaN);
  if (!isText(device) || !isText(reason) || Number.isNaN(last_at.getTime())) throw refusedCursor();
  return { last_at, device, reason };
}

function partsOf(cursor: string): readonly unknown[] {
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    return Array.isArray(parts) ? (parts as readonly unknown[]) : [];
  } catch (error) {
    if (error instanceof SyntaxError) throw refusedCursor();
    throw error;
  }
}

function isText(part: unknown): part is string {
  return typeof part === 'string' && /^[A-Za-z0-9_-]*$/.test(part);
}

function refusedCursor(): ProblemError {
  return new ProblemError(422, 'cursor: expected `next` of an earlier page');
}
