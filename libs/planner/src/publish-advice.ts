import { found, PlannerError, type Fault } from './calculator.ts';

const MILLION = 1_000_000;
/** 20.1 − 20.0 is a little more than 0.1 as a 64-bit float, and no change by more than 0.1. */
const ROUNDING = 1e-9;

/** What is stored of one metric of a device, and how little a change of it is worth a message. */
export interface MetricHistory {
  readonly metric: string;
  /** Milliseconds since 1970, each later than the one before. */
  readonly timesMs: readonly number[];
  /** As many as there are times. */
  readonly values: readonly number[];
  /** A value is sent when it differs from the last one sent by more than this; in the metric's unit. */
  readonly deadBand: number;
}

/** When a message is sent without a change, and what one costs. */
export interface PublishTerms {
  /** A message is sent at the first sample that is so long after the one sent before; Infinity where never. */
  readonly heartbeatMs: number;
  /** Topic and payload of a message. */
  readonly messageBytes: number;
  readonly dollarsPerMillionMessages: number;
}

/** What a number of messages comes to. */
export interface MessageTotals {
  readonly messages: number;
  readonly bytes: number;
  readonly dollars: number;
}

/** How far the last value sent would have been from the stored one, in the metric's unit. */
export interface MetricError {
  readonly metric: string;
  readonly maximum: number;
  /** Weighted by time: a value stands until the next one of its metric. */
  readonly mean: number;
}

/** What publishing on change would have made of a history. */
export interface PublishAdvice {
  /** From the first stored time to the last. */
  readonly coveredMs: number;
  /** One message for each time at which something was stored. */
  readonly everySample: MessageTotals;
  readonly onChange: MessageTotals;
  readonly saved: MessageTotals;
  /** In the order of the histories. */
  readonly errors: readonly MetricError[];
}

/** A metric while its history is gone through. */
interface Course {
  readonly history: MetricHistory;
  /** Of the next value. */
  index: number;
  lastSent: number | undefined;
  maximum: number;
  /** Errors times the milliseconds for which they stood. */
  weighted: number;
}

/**
 * What a device would have sent had it published on change, and what would have been lost by it. Values of one time are one
 * message; it is sent whole when any of its metrics has changed by more than its dead-band, is there for the first time, or
 * when the heartbeat is due. Whoever listens takes the last value that was sent for the one that holds.
 * @throws PlannerError `invalid-input` where times do not ascend or are not as many as the values, or a number is out of its range
 */
export function publishAdvice(histories: readonly MetricHistory[], terms: PublishTerms): PublishAdvice {
  const faults = [...termFaults(terms), ...histories.flatMap(historyFaults)];
  if (faults.length > 0) throw new PlannerError(faults);
  const courses = histories.map((history): Course => ({
    history,
    index: 0,
    lastSent: undefined,
    maximum: 0,
    weighted: 0,
  }));
  let samples = 0;
  let sent = 0;
  let lastSentMs = Number.NEGATIVE_INFINITY;
  let firstMs: number | undefined;
  let lastMs = 0;
  for (let nowMs = nextTime(courses); nowMs !== undefined; nowMs = nextTime(courses)) {
    firstMs ??= nowMs;
    lastMs = nowMs;
    samples += 1;
    const present = courses.filter(({ history, index }) => history.timesMs[index] === nowMs);
    const isSent = nowMs - lastSentMs >= terms.heartbeatMs || present.some(isChanged);
    if (isSent) {
      sent += 1;
      lastSentMs = nowMs;
    }
    for (const course of present) step(course, isSent);
  }
  const everySample = totals(samples, terms);
  const onChange = totals(sent, terms);
  return {
    coveredMs: lastMs - (firstMs ?? 0),
    everySample,
    onChange,
    saved: totals(samples - sent, terms),
    errors: courses.map(({ history, maximum, weighted }) => {
      const stoodMs = (history.timesMs.at(-1) ?? 0) - (history.timesMs[0] ?? 0);
      return { metric: history.metric, maximum, mean: stoodMs === 0 ? 0 : weighted / stoodMs };
    }),
  };
}

function nextTime(courses: readonly Course[]): number | undefined {
  let next: number | undefined;
  for (const { history, index } of courses) {
    const timeMs = history.timesMs[index];
    if (timeMs !== undefined && (next === undefined || timeMs < next)) next = timeMs;
  }
  return next;
}

function isChanged({ history, index, lastSent }: Course): boolean {
  const value = history.values[index];
  if (value === undefined) return false;
  return lastSent === undefined || Math.abs(value - lastSent) > history.deadBand * (1 + ROUNDING);
}

/** Passes the value at which a course stands, and counts its error until the next one. */
function step(course: Course, isSent: boolean): void {
  const { timesMs, values } = course.history;
  const value = values[course.index] ?? 0;
  if (isSent || course.lastSent === undefined) course.lastSent = value;
  const error = Math.abs(value - course.lastSent);
  const startMs = timesMs[course.index] ?? 0;
  course.index += 1;
  course.maximum = Math.max(course.maximum, error);
  course.weighted += error * ((timesMs[course.index] ?? startMs) - startMs);
}

function totals(messages: number, { messageBytes, dollarsPerMillionMessages }: PublishTerms): MessageTotals {
  return {
    messages,
    bytes: messages * messageBytes,
    dollars: (messages * dollarsPerMillionMessages) / MILLION,
  };
}

function termFaults(terms: PublishTerms): readonly Fault[] {
  const faults: Fault[] = [];
  const { heartbeatMs, messageBytes, dollarsPerMillionMessages } = terms;
  const refuse = (field: keyof PublishTerms, expected: string): void => {
    faults.push({ field, message: `expected ${expected}; found ${found(terms[field])}` });
  };
  if (!(heartbeatMs > 0)) refuse('heartbeatMs', 'more than 0 ms, or Infinity');
  if (!(messageBytes >= 0 && Number.isFinite(messageBytes))) refuse('messageBytes', '0 bytes or more');
  if (!(dollarsPerMillionMessages >= 0 && Number.isFinite(dollarsPerMillionMessages)))
    refuse('dollarsPerMillionMessages', '0 $ or more');
  return faults;
}

function historyFaults({ metric, timesMs, values, deadBand }: MetricHistory): readonly Fault[] {
  const faults: Fault[] = [];
  if (timesMs.length !== values.length)
    faults.push({
      field: metric,
      message: `expected a value for each of ${timesMs.length} times; found ${values.length}`,
    });
  const badTime = timesMs.findIndex(
    (timeMs, index) => !Number.isFinite(timeMs) || timeMs <= (timesMs[index - 1] ?? Number.NEGATIVE_INFINITY),
  );
  if (badTime >= 0)
    faults.push({
      field: metric,
      message: `expected times that ascend; found ${found(timesMs[badTime])} at ${badTime}`,
    });
  const badValue = values.findIndex((value) => !Number.isFinite(value));
  if (badValue >= 0)
    faults.push({ field: metric, message: `expected finite values; found ${found(values[badValue])} at ${badValue}` });
  if (!(deadBand >= 0 && Number.isFinite(deadBand)))
    faults.push({ field: metric, message: `expected a dead-band of 0 or more; found ${found(deadBand)}` });
  return faults;
}
