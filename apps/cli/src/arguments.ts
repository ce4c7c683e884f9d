import { deviceIdSchema, type DeviceId } from '@muster/contract';
import { InvalidArgumentError } from 'commander';
import { z } from 'zod';

/**
 * Reads a whole number between two limits, both included.
 * @throws InvalidArgumentError, where it reads something else
 */
export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most)
      throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}.`);
    return value;
  };
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

/** Adds a value to those of an option before. */
export function collected(text: string, before: readonly string[]): readonly string[] {
  return [...before, text];
}
