import { z } from 'zod';
import { ContractError } from './contract-error.ts';
import { decodeJson, decodeText } from './payload.ts';

/** A number that only grows, one for each connection of a device; kept in its flash. */
export const sessionSchema = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

/** Why a device says that it goes offline, when it says so itself. */
export const statedReasonSchema = z.enum(['shutdown', 'sleep', 'update']);
/** See {@link statedReasonSchema}. */
export type StatedReason = z.infer<typeof statedReasonSchema>;

/** What a message on a status or lwt topic says. */
export type StatusMessage =
  | { readonly kind: 'birth'; readonly session: number | undefined }
  | { readonly kind: 'will'; readonly session: number | undefined }
  | {
      readonly kind: 'graceful';
      readonly session: number | undefined;
      readonly reason: StatedReason;
      /** Seconds until the device wakes again; only with `sleep`. */
      readonly wakeInSeconds: number | undefined;
    };

/** A status is short: a will's payload is to be below 100 bytes, a birth carries a little more. */
const MAX_STATUS_BYTES = 4096;

const statusSchema = z.object({
  status: z.enum(['online', 'offline']),
  session: sessionSchema.optional(),
  reason: z.string().max(200).optional(),
  wake_in: z.number().positive().max(31_536_000).optional(),
});

/**
 * What a status payload says, in JSON or as plain `online` / `offline`. Only a stated reason makes an offline graceful;
 * a plain `offline`, or JSON with another reason or none, counts as the will. Times in the payload are not read: a
 * will's payload is fixed when the device connects (mqtt-pitfalls P5).
 * @throws ContractError `payload-empty`, `payload-too-large`, `invalid-utf8`, `invalid-json`, `invalid-status`
 */
export function decodeStatus(payload: Uint8Array): StatusMessage {
  const text = decodeText(payload, MAX_STATUS_BYTES).trim();
  const plain = text.toLowerCase();
  if (plain === 'online') return { kind: 'birth', session: undefined };
  if (plain === 'offline') return { kind: 'will', session: undefined };
  const parsed = statusSchema.safeParse(decodeJson(text));
  if (!parsed.success) throw new ContractError('invalid-status', `not a status: ${z.prettifyError(parsed.error)}`);
  const { status, session, reason, wake_in: wakeInSeconds } = parsed.data;
  if (status === 'online') return { kind: 'birth', session };
  const stated = statedReasonSchema.safeParse(reason);
  if (!stated.success) return { kind: 'will', session };
  return {
    kind: 'graceful',
    session,
    reason: stated.data,
    wakeInSeconds: stated.data === 'sleep' ? wakeInSeconds : undefined,
  };
}

/** The payload of a birth in JSON. */
export function encodeBirth(session: number, timestampMs: number): string {
  return JSON.stringify({ status: 'online', session, timestamp: timestampMs });
}

/** The payload of a will or of a graceful offline in JSON; below 100 bytes. */
export function encodeOffline(session: number, reason: StatedReason | 'unexpected'): string {
  return JSON.stringify({ status: 'offline', session, reason });
}
