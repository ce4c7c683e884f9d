import { z } from 'zod';
import { ContractError } from './contract-error.ts';
import type { DeviceId } from './device-id.ts';
import { decodeJson, decodeText, isStorableText, storableText } from './payload.ts';

/** A JSON object that is meant for a device. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** What a device reads of a command or a configuration, and how deep (firmware/core/json.hpp). */
const MAX_DEVICE_JSON_BYTES = 2_048;
const MAX_DEVICE_JSON_DEPTH = 8;
/** What stands around the arguments of a command: id, name of 32 characters, time of expiry. */
const COMMAND_FRAME_BYTES = 128;
/** What stands around settings: a version of ten digits. */
const CONFIG_FRAME_BYTES = 48;

function bytesOf(text: string): number {
  return new TextEncoder().encode(text).length;
}

/** What a device or a store could not take of a JSON value; without recursion, because depth is what may be wrong. */
function faultOf(value: unknown, maxDepth: number): string | undefined {
  const left: { readonly value: unknown; readonly depth: number }[] = [{ value, depth: 1 }];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const { value: one, depth } = next;
    if (typeof one === 'string' && !isStorableText(one)) return 'U+0000 and lone surrogates cannot be stored';
    if (typeof one === 'number' && !Number.isFinite(one)) return 'a number is too large for a 64-bit float';
    if (typeof one !== 'object' || one === null) continue;
    if (depth > maxDepth) return `nested deeper than ${maxDepth} levels, which devices do not read`;
    for (const [key, inner] of Object.entries(one)) {
      if (!isStorableText(key)) return 'U+0000 and lone surrogates cannot be stored';
      left.push({ value: inner, depth: depth + 1 });
    }
  }
  return undefined;
}

function deviceObjectSchema(maxBytes: number): z.ZodType<JsonObject> {
  return z.record(z.string(), z.unknown()).superRefine((value, context) => {
    // It is one level below the object that carries it.
    const fault = faultOf(value, MAX_DEVICE_JSON_DEPTH - 1);
    const bytes = fault === undefined ? bytesOf(JSON.stringify(value)) : 0;
    const message = bytes > maxBytes ? `${bytes} bytes as JSON; devices read at most ${maxBytes}` : fault;
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  });
}

/** The arguments of a command, as far as a device reads them. */
export const commandArgsSchema = deviceObjectSchema(MAX_DEVICE_JSON_BYTES - COMMAND_FRAME_BYTES);
/** The settings of a configuration, as far as a device reads them. */
export const deviceSettingsSchema = deviceObjectSchema(MAX_DEVICE_JSON_BYTES - CONFIG_FRAME_BYTES);
/** The largest version of a configuration: a device keeps it in 32 bits (firmware/core/settings.hpp). */
export const MAX_CONFIG_VERSION = 4_294_967_295;

/** Where a device is told what to do. */
export function commandTopic(device: DeviceId): string {
  return `devices/${device}/command`;
}

/** Where the settings that a device is to have are retained. */
export function configTopic(device: DeviceId): string {
  return `devices/${device}/config`;
}

/** The payload of a command; `expires` is in milliseconds since 1970. */
export function encodeCommand(command: {
  readonly id: string;
  readonly name: string;
  readonly args: JsonObject;
  readonly expiresAtMs: number;
}): string {
  const { id, name, args, expiresAtMs } = command;
  return JSON.stringify({ id, name, args, expires: expiresAtMs });
}

/** The payload of a configuration; settings of null are a cleared topic, which says nothing about what is wanted. */
export function encodeConfig(version: number, settings: JsonObject | null): string {
  return settings === null ? '' : JSON.stringify({ version, settings });
}

/** What a device answers to a command. */
export interface CommandAck {
  readonly id: string;
  /** Why it was not done; null where it was. */
  readonly error: string | null;
}

const MAX_ACK_BYTES = 4_096;
const MAX_ERROR_CHARACTERS = 200;

const ackSchema = z.object({
  id: z.string().min(1).max(64),
  ok: z.boolean(),
  error: z.string().nullish(),
});

/**
 * What a payload on an ack topic says: `{"id","ok"}`, with `error` where it is not ok; a longer error is cut.
 * @throws ContractError `payload-empty`, `payload-too-large`, `invalid-utf8`, `invalid-json`, `invalid-ack`
 */
export function decodeAck(payload: Uint8Array): CommandAck {
  const parsed = ackSchema.safeParse(decodeJson(decodeText(payload, MAX_ACK_BYTES)));
  if (!parsed.success)
    throw new ContractError('invalid-ack', `not an acknowledgement: ${z.prettifyError(parsed.error)}`);
  const { id, ok, error } = parsed.data;
  const said = storableText(error ?? '', MAX_ERROR_CHARACTERS);
  return { id, error: ok ? null : said === '' ? 'the device gives no reason' : said };
}
