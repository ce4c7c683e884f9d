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
  | { readonly kind: 'refused'; readonly reason: string }
  /** The so many oldest lines are older than the retention; InfluxDB has stored the others. */
  | { readonly kind: 'too-old'; readonly reason: string; readonly lines: number }
  /** InfluxDB is away, overloaded or wrongly set up: the same lines may be taken later. */
  | { readonly kind: 'unavailable'; readonly reason: string };

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

/** A request answers within this time, or counts as unavailable. */
const TIMEOUT_MS = 10_000;
/** Statuses that say something about the lines themselves; every other failure may pass (mqtt-pitfalls B9). */
const REFUSALS = new Set([400, 413, 422]);
const BEYOND_RETENTION = /points beyond retention policy dropped=(\d+)/;

/** The `/write` and `/query` endpoints, which InfluxDB 1.x, 2.x and 3.x have in common. */
export class Influx {
  readonly #client: InfluxDB;
  readonly #writePath: string;
  readonly #queryPath: string;
  readonly #authorization: string;

  constructor(target: InfluxTarget) {
    this.#client = new InfluxDB({ url: target.url, timeout: TIMEOUT_MS });
    const database = encodeURIComponent(target.database);
    this.#writePath = `/write?db=${database}&precision=ms`;
    this.#queryPath = `/query?db=${database}&epoch=ms`;
    this.#authorization = `Basic ${Buffer.from(`${target.username}:${target.password}`).toString('base64')}`;
  }

  /** Writes lines of line protocol in one request; never throws. */
  async write(lines: readonly string[]): Promise<WriteOutcome> {
    return new Promise((resolve) => {
      this.#client.transport.send(
        this.#writePath,
        lines.join('\n'),
        {
          method: 'POST',
          headers: { 'content-type': 'text/plain; charset=utf-8', authorization: this.#authorization },
        },
        {
          error: (error) => resolve(outcomeOf(error)),
          complete: () => resolve({ kind: 'stored' }),
        },
      );
    });
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
  const reason = error instanceof HttpError ? (reasonIn(error.body) ?? error.message) : error.message;
  if (error instanceof HttpError && REFUSALS.has(error.statusCode)) {
    const tooOld = BEYOND_RETENTION.exec(reason)?.[1];
    return tooOld === undefined ? { kind: 'refused', reason } : { kind: 'too-old', reason, lines: Number(tooOld) };
  }
  return { kind: 'unavailable', reason };
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
