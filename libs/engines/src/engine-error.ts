/** Why an engine could not be had, in one line that says how to mend it. */
export type EngineErrorCode =
  'port-taken' | 'not-installable' | 'install-failed' | 'did-not-start' | 'folder-in-use' | 'state-unusable';

/** The error of this library; `code` is stable. */
export class EngineError extends Error {
  override readonly name = 'EngineError';

  constructor(
    readonly code: EngineErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
