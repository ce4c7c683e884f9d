import { HttpError, InfluxDB } from '@influxdata/influxdb-client';

/** Where InfluxDB is, and with which account. */
export interface InfluxTarget {
  readonly url: string;
  readonly database: string;
  readonly username: string;
  readonly password: string;
}

/** What became of a write. */
export type WriteOutcome =
  | { readonly kind: 'stored' }
  /** InfluxDB will never take all of these lines as they are; the good ones may have been stored. */
  | {
      readonly kind: 'refused';
      readonly reason: string;
      /** How many lines InfluxDB 1.x says it has dropped; for lines that are no line protocol it says 0. */
      readonly dropped?: number | undefined;
    }
  /** The so many oldest lines are older than the retention; InfluxDB has stored the others. */
  | { readonly kind: 'too-old'; readonly reason: string; readonly lines: number }
  /** InfluxDB is away, overloaded or wrongly set up: the same lines may be taken later. */
  | {
      readonly kind: 'unavailable';
      readonly reason: string;
      /** It is there and will not take any line until its database, account or address is set up rightly. */
      readonly isMisconfigured?: boolean;
      /** It did not answer within the time limit: it hangs, or is too slow for so many lines. */
      readonly isTimeout?: boolean;
      /** It asked to be left alone for so long (RFC 9110, section 10.2.3). */
      readonly retryAfterMs?: number | undefined;
    };

/** How requests are made. */
export interface InfluxOptions {
  /** A request answers within this time, or counts as unavailable; 10 s unless told. */
  readonly timeoutMs?: number;
  /** Bodies above so many bytes are compressed; none unless told. It costs more time than a near network does. */
  readonly gzipAboveBytes?: number;
}

/** An InfluxQL query was not answered. */
export class InfluxQueryError extends Error {
  override readonly name = 'InfluxQueryError';
  readonly code = 'influx-query';
}

/** One row of an InfluxQL answer: column name to value, with the tags of its series. */
export type InfluxRow = Readonly<Record<string, string | number | boolean | null>>;

interface QueryAnswer {
  readonly error?: string;
  readonly results?: readonly {
    readonly error?: string;
    readonly series?: readonly {
      readonly tags?: Readonly<Record<string, string>>;
      readonly columns: readonly string[];
      readonly values: readonly (readonly (string | number | boolean | null)[])[];
    }[];
  }[];
}

const TIMEOUT_MS = 10_000;
const TIMED_OUT = 'timed out';
/** Statuses that say something about the lines themselves; every other failure may pass (mqtt-pitfalls B9). */
const REFUSALS = new Set([400, 413, 422]);
/** No account, no right, no such database or path: nothing that is wrong with a line. */
const MISCONFIGURATIONS = new Set([401, 403, 404]);
const DROPPED = /partial write: .* dropped=(\d+)$/s;
const BEYOND_RETENTION = /points beyond retention policy dropped=(\d+)/;

/** The `/write` and `/query` endpoints, which InfluxDB 1.x, 2.x and 3.x have in common. */
export class Influx {
  readonly #client: InfluxDB;
  readonly #writePath: string;
  readonly #queryPath: string;
  readonly #authorization: string;
  readonly #timeoutMs: number;
  readonly #gzipAboveBytes: number | undefined;

  constructor(target: InfluxTarget, { timeoutMs = TIMEOUT_MS, gzipAboveBytes }: InfluxOptions = {}) {
    this.#client = new InfluxDB({ url: target.url, timeout: timeoutMs });
    this.#timeoutMs = timeoutMs;
    this.#gzipAboveBytes = gzipAboveBytes;
    const database = encodeURIComponent(target.database);
    this.#writePath = `/write?db=${database}&precision=ms`;
    this.#queryPath = `/query?db=${database}&epoch=ms`;
    this.#authorization = `Basic ${Buffer.from(`${target.username}:${target.password}`).toString('base64')}`;
  }

  /**
   * Writes line protocol in one request, which ends as unavailable when it is aborted; never throws.
   * @param lines as a text or its bytes, which are copied before this returns
   */
  async write(lines: string | Buffer, signal?: AbortSignal): Promise<WriteOutcome> {
    // The client's own time limit comes later and leaves the request open: a server that hangs would gather connections.
    const abort = new AbortController();
    const end = (): void => abort.abort();
    const timer = setTimeout(() => abort.abort(TIMED_OUT), this.#timeoutMs);
    signal?.addEventListener('abort', end);
    if (signal?.aborted === true) end();
    const outcome = await new Promise<WriteOutcome>((resolve) => {
      this.#client.transport.send(
        this.#writePath,
        // It is declared for texts, and makes a Buffer of either (Buffer.from).
        lines as string,
        {
          method: 'POST',
          headers: { 'content-type': 'text/plain; charset=utf-8', authorization: this.#authorization },
          signal: abort.signal,
          ...(this.#gzipAboveBytes === undefined ? {} : { gzipThreshold: this.#gzipAboveBytes }),
        },
        {
          error: (error) => resolve(outcomeOf(error)),
          complete: () => resolve({ kind: 'stored' }),
        },
      );
    });
    clearTimeout(timer);
    signal?.removeEventListener('abort', end);
    if (outcome.kind !== 'unavailable' || abort.signal.reason !== TIMED_OUT) return outcome;
    return { kind: 'unavailable', isTimeout: true, reason: `InfluxDB did not answer within ${this.#timeoutMs} ms` };
  }

  /**
   * The rows of an InfluxQL query; times in milliseconds.
   * @throws InfluxQueryError also where InfluxDB 2 answers an error with status 200
   */
  async query(influxql: string): Promise<readonly InfluxRow[]> {
    let answer: QueryAnswer;
    try {
      answer = (await this.#client.transport.request(`${this.#queryPath}&q=${encodeURIComponent(influxql)}`, '', {
        method: 'GET',
        headers: { accept: 'application/json', authorization: this.#authorization },
      })) as QueryAnswer;
    } catch (error) {
      throw new InfluxQueryError(`InfluxDB did not answer: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      });
    }
    const fault = answer.error ?? answer.results?.find((result) => result.error !== undefined)?.error;
    if (fault !== undefined) throw new InfluxQueryError(`InfluxDB refused the query: ${fault}`);
    return (answer.results ?? []).flatMap((result) =>
      (result.series ?? []).flatMap((series) =>
        series.values.map((values) => ({
          ...series.tags,
          ...Object.fromEntries(series.columns.map((column, index) => [column, values[index] ?? null])),
        })),
      ),
    );
  }
}

function outcomeOf(error: Error): WriteOutcome {
  if (!(error instanceof HttpError)) return { kind: 'unavailable', reason: error.message };
  const said = reasonIn(error.body);
  const reason = said ?? error.message;
  if (REFUSALS.has(error.statusCode)) {
    // A 400 of whoever else answers at this address, as a proxy that expects TLS, says nothing about the lines.
    if (said === undefined && error.statusCode !== 413) return { kind: 'unavailable', reason, isMisconfigured: true };
    const tooOld = BEYOND_RETENTION.exec(reason)?.[1];
    if (tooOld !== undefined) return { kind: 'too-old', reason, lines: Number(tooOld) };
    const dropped = DROPPED.exec(reason)?.[1];
    return { kind: 'refused', reason, dropped: dropped === undefined ? undefined : Number(dropped) };
  }
  return {
    kind: 'unavailable',
    reason,
    isMisconfigured: MISCONFIGURATIONS.has(error.statusCode),
    retryAfterMs: retryAfterMs(error.headers?.['retry-after'], Date.now()),
  };
}

/**
 * How long a `Retry-After` asks to wait, in seconds or until a date (RFC 9110, section 10.2.3); undefined where there is
 * none, or not in its form.
 */
export function retryAfterMs(header: string | readonly string[] | undefined, nowMs: number): number | undefined {
  const text = typeof header === 'string' ? header.trim() : header?.[0]?.trim();
  if (text === undefined || text === '') return undefined;
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  const untilMs = Date.parse(text);
  return Number.isNaN(untilMs) ? undefined : Math.max(0, untilMs - nowMs);
}

function reasonIn(body: string | undefined): string | undefined {
  try {
    const parsed = JSON.parse(body ?? '') as { error?: unknown; message?: unknown };
    const reason = parsed.error ?? parsed.message;
    return typeof reason === 'string' ? reason.slice(0, 500) : undefined;
  } catch {
    return undefined;
  }
}
