import {
  alertDurationMs,
  type Device,
  type DeviceId,
  type LastReading,
  type PublishAdviceAnswer,
  type PublishAdviceQuery,
} from '@muster/contract';
import { formatted, publishAdvice, type MessageTotals, type MetricHistory } from '@muster/planner';
import { ProblemError } from '@muster/service';
import {
  InfluxQueryError,
  storedSamples,
  type Influx,
  type StoredSamples,
  type StoredSeries,
  type StoredValue,
} from '@muster/telemetry';
import type { Devices } from './devices.ts';

/** Two days of three metrics a second; 8 MB, and a tenth of a second of work. */
const MAX_VALUES = 500_000;
/** Each holds its history. */
const MAX_WAITING = 16;
/** AWS IoT Core, pricing, Messaging, up to a billion messages a month. */
const DOLLARS_PER_MILLION = 1;
/** What the course counts with. */
const USUAL_BYTES = 50;
const MONTH_MS = 30 * 86_400_000;
/** Of less, a month would be a guess. */
const WORTH_A_MONTH_MS = alertDurationMs('1h');

type Terms = PublishAdviceAnswer['terms'];

/** A metric of which advice is wanted, and where it is stored. */
interface WantedMetric {
  readonly metric: string;
  readonly unit: string | null;
  readonly field: string;
  readonly deadBand: number;
}

/**
 * The metrics of which advice is wanted. Of texts and booleans every change is worth a message.
 * @throws ProblemError 422 where one is asked for that the device has not
 */
export function wantedMetrics(
  readings: Readonly<Record<string, LastReading>>,
  { metric: only, deadband }: Pick<PublishAdviceQuery, 'metric' | 'deadband'>,
): readonly WantedMetric[] {
  const named = [...only, ...[...deadband.keys()].filter((name) => name !== '')];
  const unknown = named.find((name) => !Object.hasOwn(readings, name));
  if (unknown !== undefined)
    throw new ProblemError(
      422,
      `the device has sent no metric ${unknown}; it has ${Object.keys(readings).sort().join(', ') || 'none'}`,
    );
  return Object.entries(readings).flatMap(([metric, { value, unit }]) => {
    if (only.length > 0 && !only.includes(metric)) return [];
    if (typeof value !== 'number')
      return [{ metric, unit, field: `${metric}_${typeof value === 'boolean' ? 'bool' : 'text'}`, deadBand: 0 }];
    return [{ metric, unit, field: metric, deadBand: deadband.get(metric) ?? deadband.get('') ?? 0 }];
  });
}

/** Texts and booleans as numbers that are equal where they are. */
function numbersOf(values: readonly StoredValue[]): readonly number[] {
  const known = new Map<StoredValue, number>();
  return values.map((value) => {
    if (typeof value === 'number') return value;
    const number = known.get(value) ?? known.size;
    known.set(value, number);
    return number;
  });
}

function historyOf({ metric, deadBand }: WantedMetric, { timesMs, values }: StoredSeries): MetricHistory {
  return { metric, deadBand, timesMs, values: numbersOf(values) };
}

/** What the advice is worked out with, and where that comes from. */
export function termsOf(traffic: Device['traffic'], query: Pick<PublishAdviceQuery, 'heartbeat' | 'price'>): Terms {
  const isKnown = traffic !== null && traffic.messages > 0;
  return {
    heartbeatSeconds: query.heartbeat / 1000,
    messageBytes: isKnown ? traffic.bytes / traffic.messages : USUAL_BYTES,
    messageBytesFrom: isKnown
      ? `the mean of ${formatted(traffic.messages)} payloads of the device`
      : 'assumed: nothing is known of the sizes of its payloads',
    dollarsPerMillionMessages: query.price ?? DOLLARS_PER_MILLION,
    priceFrom:
      query.price === undefined ? 'AWS IoT Core, up to a billion messages a month; price= changes it' : 'price=',
  };
}

function scaled({ messages, bytes, dollars }: MessageTotals, factor: number): MessageTotals {
  return { messages: messages * factor, bytes: bytes * factor, dollars: dollars * factor };
}

/**
 * The advice from what is stored of the metrics, in their order; undefined where nothing is.
 * @throws PlannerError where what is stored is no history
 */
export function adviceOf(
  device: DeviceId,
  metrics: readonly WantedMetric[],
  { series, isTruncated }: StoredSamples,
  terms: Terms,
): PublishAdviceAnswer | undefined {
  const stored = metrics.flatMap((wanted) => {
    const found = series.find(({ field }) => field === wanted.field);
    return found === undefined || found.timesMs.length === 0 ? [] : [{ wanted, history: historyOf(wanted, found) }];
  });
  const { heartbeatSeconds, ...rest } = terms;
  const planned = { ...rest, heartbeatMs: heartbeatSeconds * 1000 };
  const advice = publishAdvice(
    stored.map(({ history }) => history),
    planned,
  );
  const { everySample, onChange, saved, coveredMs, errors } = advice;
  if (everySample.messages === 0) return undefined;
  const fromMs = stored.reduce((first, { history }) => Math.min(first, history.timesMs[0] ?? first), Infinity);
  const savedPercent = (saved.messages / everySample.messages) * 100;
  return {
    device,
    from: new Date(fromMs).toISOString(),
    to: new Date(fromMs + coveredMs).toISOString(),
    truncated: isTruncated
      ? `only the newest ${formatted(everySample.messages)} samples were looked at; a shorter range, or metric=, looks at all`
      : null,
    terms,
    everySample,
    onChange,
    saved,
    savedPercent,
    savedPerMonth: coveredMs < WORTH_A_MONTH_MS ? null : scaled(saved, MONTH_MS / coveredMs),
    metrics: stored.map(({ wanted: { metric, unit, deadBand }, history }, index) => ({
      metric,
      unit,
      deadBand,
      samples: history.timesMs.length,
      messages: publishAdvice([history], planned).onChange.messages,
      maximumError: errors[index]?.maximum ?? 0,
      meanError: errors[index]?.mean ?? 0,
    })),
    explanation: explanationOf(everySample.messages, onChange.messages, savedPercent),
  };
}

function explanationOf(before: number, after: number, percent: number): string {
  if (before === after) return 'Nothing would be saved: every sample is a change, or a heartbeat was due.';
  return `${formatted(after)} messages would have done in place of ${formatted(before)}: ${formatted(percent)} % less.`;
}

/** Says what publishing on change would save, from what is stored of a device. */
export class PublishAdvisor {
  /** Histories are read one after the other: so many requests never hold more than one. */
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(
    private readonly devices: Pick<Devices, 'find'>,
    /** Undefined where the registry was not told where InfluxDB is. */
    private readonly influx: Pick<Influx, 'query'> | undefined,
  ) {}

  /**
   * What a dead-band and a heartbeat would have saved, and the error that they would have made.
   * @throws ProblemError 404; 409 where nothing is stored; 422 for a metric that the device has not; 503 where InfluxDB
   *   does not answer, or too many ask
   */
  async advice(id: DeviceId, query: PublishAdviceQuery, nowMs = Date.now()): Promise<PublishAdviceAnswer> {
    const { readings, traffic } = await this.devices.find(id);
    const metrics = wantedMetrics(readings, query);
    const nothing = new ProblemError(
      409,
      `nothing is stored of ${id} in this time${metrics.length === 0 ? '; it has never sent telemetry' : ''}: ask for a longer range, such as range=7d, or wait until it has sent something`,
    );
    if (metrics.length === 0) throw nothing;
    const samples = await this.#inTurn(() => this.#samples(id, metrics, nowMs - query.range, nowMs));
    const answer = adviceOf(id, metrics, samples, termsOf(traffic, query));
    if (answer === undefined) throw nothing;
    return answer;
  }

  async #samples(
    device: DeviceId,
    metrics: readonly WantedMetric[],
    fromMs: number,
    untilMs: number,
  ): Promise<StoredSamples> {
    if (this.influx === undefined)
      throw new ProblemError(
        503,
        'the registry was not told where InfluxDB is, so it knows no history; set MUSTER_INFLUXDB_URL, _USERNAME and _PASSWORD for it',
      );
    const fields = metrics.map(({ field }) => field);
    try {
      return await storedSamples(this.influx, { device, fields, fromMs, untilMs, maxValues: MAX_VALUES });
    } catch (error) {
      if (!(error instanceof InfluxQueryError)) throw error;
      throw new ProblemError(503, `the history cannot be read: ${error.message}; ask again when InfluxDB answers`);
    }
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= MAX_WAITING)
      throw new ProblemError(503, `${MAX_WAITING} histories are waited for already; ask again in a few seconds`);
    this.#waiting += 1;
    const turn = this.#last.then(work).finally(() => (this.#waiting -= 1));
    // Whoever comes next waits for the end of it, good or bad; the error itself is for who asked.
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}
