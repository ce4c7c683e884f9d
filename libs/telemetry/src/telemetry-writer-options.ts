import type { Influx } from './influx.ts';
import type { SpoolError } from './spool-error.ts';
import type { Spool } from './spool.ts';

/** Where lines are durable now. */
export type StoredIn = 'influxdb' | 'spool';

/** What a writer tells of; nothing that it needs an answer to. */
export type WriterEvent =
  /** InfluxDB has answered for so many lines, live or from the spool. */
  | { readonly kind: 'written'; readonly lines: number; readonly durationMs: number }
  /** InfluxDB takes nothing at the moment; told for the first failure and for each further attempt. */
  | {
      readonly kind: 'unavailable';
      readonly reason: string;
      readonly attempt: number;
      /** It will not until somebody mends account, database or address. */
      readonly isMisconfigured: boolean;
      readonly retryInMs: number;
    }
  /** InfluxDB takes lines again. */
  | { readonly kind: 'available' }
  | { readonly kind: 'spooled'; readonly lines: number }
  /** Lines from the spool that are not wanted any more were left out. */
  | { readonly kind: 'left-out'; readonly lines: number }
  /** Lines from the spool are in InfluxDB. */
  | { readonly kind: 'replayed'; readonly lines: number }
  /** Neither InfluxDB nor the spool took these lines; whoever wrote them was told by the same error. */
  | { readonly kind: 'rejected'; readonly lines: number; readonly error: SpoolError }
  /** The spool could not be read, or a delivered part not be deleted; it is tried again. */
  | { readonly kind: 'replay-failed'; readonly error: Error };

/** How telemetry is gathered and written. */
export interface TelemetryWriterOptions {
  readonly influx: Pick<Influx, 'write'>;
  /** Opened by the caller, who closes it after the writer. */
  readonly spool: Spool;
  /** A batch with so many lines, or so many bytes, waits for no more. */
  readonly maxBatchLines: number;
  readonly maxBatchBytes: number;
  /** A line waits at most so long for others. */
  readonly maxDelayMs: number;
  /** Live requests under way at once; the replay has one more. */
  readonly maxRequests: number;
  /** Bytes of lines in memory; more are rejected. */
  readonly maxHeldBytes: number;
  /** Whether a line from the spool is still wanted; asked before each attempt to write it. */
  readonly isWanted?: (line: string) => boolean;
  /** What an earlier process has left is not replayed before: until then `isWanted` has no answer. */
  readonly replayAfter?: Promise<unknown>;
  /** Takes a line that InfluxDB will never take. Told again where the process is killed during a replay. */
  readonly onRefused: (line: string, reason: string) => void;
  readonly onEvent: (event: WriterEvent) => void;
}
