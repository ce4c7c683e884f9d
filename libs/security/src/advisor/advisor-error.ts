/** Why a configuration could not be read, judged or written. */
export type AdvisorErrorCode =
  | 'unreadable'
  | 'too-large'
  | 'not-text'
  | 'no-configuration'
  | 'certificate-missing'
  | 'certificate-unusable'
  | 'file-exists'
  | 'not-writable';

/** The only error that the advisor throws; `code` is stable, `line` counts from 1 and is known where a line is at fault. */
export class AdvisorError extends Error {
  override readonly name = 'AdvisorError';

  constructor(
    readonly code: AdvisorErrorCode,
    message: string,
    readonly line?: number,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
