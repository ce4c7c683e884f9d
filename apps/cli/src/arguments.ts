import { deviceIdSchema, type DeviceId } from '@muster/contract';
import { InvalidArgumentError } from 'commander';
import { z } from 'zod';

/**
 * A whole number from 0 to 10,000.
 * @throws InvalidArgumentError
 */
export function countArgument(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > 10_000) throw new InvalidArgumentError('expected a whole number up to 10,000');
  return value;
}

/**
 * A device id.
 * @throws InvalidArgumentError
 */
export function deviceArgument(text: string): DeviceId {
  const parsed = deviceIdSchema.safeParse(text);
  if (!parsed.success) throw new InvalidArgumentError(z.prettifyError(parsed.error));
  return parsed.data;
}

/**
 * Reads a whole number within limits.
 * @throws InvalidArgumentError
 */
export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < least || value > most)
      throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}.`);
    return value;
  };
}
