import { z } from 'zod';
import { ContractError } from './contract-error.ts';

const DEVICE_ID = /^[A-Za-z0-9_-]{1,64}$/;

/**
 * The id of a device: also its MQTT client id, its user name and one level of its topics, therefore only characters
 * that need no escaping in a topic, a URL, line protocol or an ACL file.
 */
export const deviceIdSchema = z
  .string()
  .regex(DEVICE_ID, 'expected 1 to 64 of the characters A-Z a-z 0-9 _ -')
  .brand<'DeviceId'>()
  .describe('Device id: 1 to 64 of the characters A-Z a-z 0-9 _ -');

/** A string that has been checked to be a device id. */
export type DeviceId = z.infer<typeof deviceIdSchema>;

/** Whether `text` is a device id. */
export function isDeviceId(text: string): text is DeviceId {
  return DEVICE_ID.test(text);
}

/**
 * `text` as a device id.
 * @throws ContractError `invalid-device-id`
 */
export function deviceId(text: string): DeviceId {
  if (isDeviceId(text)) return text;
  throw new ContractError(
    'invalid-device-id',
    `not a device id: ${JSON.stringify(text.slice(0, 80))}; expected 1 to 64 of the characters A-Z a-z 0-9 _ -`,
  );
}
