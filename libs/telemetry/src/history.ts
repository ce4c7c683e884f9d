import type { InfluxTarget } from './influx.ts';

const MEASUREMENT = 'telemetry';
const TIMEOUT_MS = 30_000;

/** The history of a device could not be deleted; the message says why. */
export class HistoryError extends Error {
  override readonly name = 'HistoryError';

  constructor(
    /** `unsupported`: this InfluxDB cannot; `refused`: this account may not, or the bucket is another; `unavailable`: later. */
    readonly code: 'unsupported' | 'refused' | 'unavailable',
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Deletes history in InfluxDB, by what each generation offers for that. */
export class TelemetryHistory {
  constructor(private readonly target: InfluxTarget) {}

  /**
   * The generation of the server, where history can be deleted: `1` or `2`.
   * @throws HistoryError `unsupported` for InfluxDB 3, which deletes no rows; `unavailable`
   */
  async generation(): Promise<'1' | '2'> {
    const answer = await this.#ask('/ping', { method: 'GET' }, `Token ${this.target.password}`);
    await answer.body?.cancel();
    const version = answer.headers.get('x-influxdb-version') ?? '';
    if (/^v?1\./.test(version)) return '1';
    if (/^v?2\./.test(version)) return '2';
    throw new HistoryError(
      'unsupported',
      `InfluxDB ${version === '' ? 'of an unknown version' : version} cannot delete the history of one device; it goes when its retention ends`,
    );
  }

  /**
   * Deletes all telemetry of a device, and answers how. On 2.x the name of the device stays among the values of the tag
   * until its shards are gone (mqtt-pitfalls R16).
   * @param device an id, which needs no quoting
   * @throws HistoryError
   */
  async deleteDevice(device: string): Promise<string> {
    return (await this.generation()) === '1' ? this.#dropSeries(device) : this.#deleteByPredicate(device);
  }

  async #dropSeries(device: string): Promise<string> {
    const { username, password, database } = this.target;
    const statement = `DROP SERIES FROM "${MEASUREMENT}" WHERE "device" = '${device}'`;
    const query = new URLSearchParams({ db: database, q: statement });
    const basic = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
    const answer = await this.#ask(`/query?${query.toString()}`, { method: 'POST' }, basic);
    const text = await answer.text();
    if (!answer.ok || text.includes('"error"')) throw refusal(answer.status, text);
    return `InfluxDB 1: ${statement}`;
  }

  async #deleteByPredicate(device: string): Promise<string> {
    const { database, password } = this.target;
    const token = `Token ${password}`;
    const found = await this.#ask(`/api/v2/buckets?name=${encodeURIComponent(database)}`, { method: 'GET' }, token);
    const text = await found.text();
    if (!found.ok) throw refusal(found.status, text);
    const { buckets = [] } = JSON.parse(text) as { buckets?: { id?: string; orgID?: string }[] };
    const { id, orgID } = buckets[0] ?? {};
    if (id === undefined || orgID === undefined)
      throw new HistoryError(
        'refused',
        `there is no bucket ${database} that this token may read; its history is elsewhere`,
      );
    const predicate = `_measurement="${MEASUREMENT}" AND device="${device}"`;
    const answer = await this.#ask(
      `/api/v2/delete?${new URLSearchParams({ bucketID: id, orgID }).toString()}`,
      {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ start: '1970-01-01T00:00:00Z', stop: '2200-01-01T00:00:00Z', predicate }),
      },
      token,
    );
    if (!answer.ok) throw refusal(answer.status, await answer.text());
    return `InfluxDB 2: deleted where ${predicate}; the id stays among the values of the tag until its shards are gone`;
  }

  async #ask(path: string, init: RequestInit, authorization: string): Promise<Response> {
    try {
      return await fetch(new URL(path, this.target.url), {
        ...init,
        headers: { ...(init.headers as Record<string, string> | undefined), authorization },
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
    } catch (error) {
      throw new HistoryError('unavailable', `InfluxDB did not answer: ${messageOf(error)}`, { cause: error });
    }
  }
}

function refusal(status: number, text: string): HistoryError {
  const code = status >= 500 ? 'unavailable' : 'refused';
  return new HistoryError(code, `InfluxDB answered ${status}: ${text.slice(0, 300)}`);
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}
