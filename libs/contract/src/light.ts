import { ContractError } from './contract-error.ts';

/** What a light is told, and what it says of itself: off, on, or how bright from 0 to 100. */
export type LightCommand = { readonly on: boolean; readonly brightness: number | undefined };

/**
 * Reads `ON`, `OFF` or a brightness from 0 to 100; 0 is off.
 * @throws ContractError `not-a-light-command`
 */
export function decodeLightCommand(text: string): LightCommand {
  const trimmed = text.trim();
  const word = trimmed.toUpperCase();
  if (word === 'ON' || word === 'OFF') return { on: word === 'ON', brightness: undefined };
  const brightness = /^\d{1,3}$/.test(trimmed) ? Number(trimmed) : Number.NaN;
  if (brightness >= 0 && brightness <= 100) return { on: brightness > 0, brightness };
  throw new ContractError('not-a-light-command', 'expected ON, OFF or a brightness from 0 to 100');
}
