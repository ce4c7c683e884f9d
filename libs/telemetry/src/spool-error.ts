/** Why the spool did not do what it was asked for. */
export type SpoolErrorCode =
  /** It holds as much as it may. */
  | 'size-limit'
  /** The disk has no room (ENOSPC, EDQUOT). */
  | 'disk-full'
  /** More waits in memory for the disk or InfluxDB than may. */
  | 'memory-limit'
  /** Another process that lives has the folder. */
  | 'locked'
  | 'closed'
  /** The disk failed in another way; `cause` says how. */
  | 'disk-failed';

/** What the spool throws; `code` is stable and may be used as a metric label. */
export class SpoolError extends Error {
  override readonly name: string = 'SpoolError';

  constructor(
    readonly code: SpoolErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** There is no room to make telemetry durable: QoS 1 stays unacknowledged, QoS 0 is dropped and counted. */
export class SpoolFullError extends SpoolError {
  override readonly name = 'SpoolFullError';

  constructor(
    override readonly code: 'size-limit' | 'disk-full' | 'memory-limit',
    message: string,
    options?: ErrorOptions,
  ) {
    super(code, message, options);
  }
}

const NO_ROOM = new Set(['ENOSPC', 'EDQUOT']);

/** The code of an error of the operating system; undefined where it is none. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}

/** What a failure of the file system means to whoever appends. */
export function spoolErrorOf(error: unknown, folder: string): SpoolError {
  if (error instanceof SpoolError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return NO_ROOM.has(systemCode(error) ?? '')
    ? new SpoolFullError('disk-full', `the disk of the spool ${folder} is full`, { cause: error })
    : new SpoolError('disk-failed', `the spool ${folder} failed: ${reason}`, { cause: error });
}
