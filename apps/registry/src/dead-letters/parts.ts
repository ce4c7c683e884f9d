import type { ApiParts, FolderParts, RegistryContext } from '../registry-context.ts';
import { DeadLettersController } from './dead-letters.controller.ts';
import { DeadLetters } from './dead-letters.ts';

/** Telemetry that could not be used, and the wish to have it read again. */
export const DEAD_LETTERS_API: ApiParts = { controllers: [DeadLettersController], injected: [DeadLetters] };

/** Makes what {@link DEAD_LETTERS_API} needs. */
export function deadLettersParts({ database }: RegistryContext): FolderParts {
  return { providers: [{ provide: DeadLetters, useValue: new DeadLetters(database) }] };
}
