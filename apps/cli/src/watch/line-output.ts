import type { Output } from './feed.ts';
import { fitText } from './terminal-text.ts';
import { levelOf, type Threshold } from './thresholds.ts';
import { isoTime, valueText } from './value-text.ts';
import { advance, emptyState, type ReceivedEvent, type WatchChange } from './watch-model.ts';

/** Longer texts are cut in a line; JSON has them whole. */
const MAX_TEXT_COLUMNS = 300;
/** Maps are copied once a batch. */
const BATCH_MS = 50;

function safe(text: string): string {
  return fitText(text, MAX_TEXT_COLUMNS).text;
}

/** A change as one line for people; undefined for what is said on standard error. */
export function plainLine(change: WatchChange, thresholds: readonly Threshold[]): string | undefined {
  switch (change.kind) {
    case 'reading': {
      const { metric, value, unit, atMs, receivedAtMs, qos, replay, late } = change.reading;
      const level = levelOf(thresholds, metric, value);
      return [
        isoTime(late || replay === 'stored' ? atMs : receivedAtMs) ?? '-',
        safe(change.device),
        safe(metric),
        safe(valueText(value, unit)),
        `QoS ${qos ?? '-'}`,
        ...(replay === null ? [] : [replay]),
        ...(late ? ['late'] : []),
        ...(level === 'normal' ? [] : [level]),
      ].join(' ');
    }
    case 'presence': {
      const { state, reason, explanation, replay } = change.presence;
      const mark = replay === null ? '' : ` ${replay}`;
      return `${isoTime(change.atMs)} ${safe(change.device)} ${state} (${reason})${mark}: ${safe(explanation)}`;
    }
    case 'removed':
      return `${isoTime(change.atMs)} ${safe(change.device)} removed`;
    case 'unreadable':
      return `${isoTime(change.atMs)} ${safe(change.device)} unreadable ${safe(change.topic)}: ${safe(change.why)}`;
    case 'alert': {
      const { severity, subject, summary } = change.alert;
      const what = change.isFiring ? `alert ${severity}` : `alert ended ${severity}`;
      return `${isoTime(change.atMs)} ${safe(subject)} ${what}: ${safe(summary)}`;
    }
    case 'feed':
      return undefined;
  }
}

/** A change as one JSON object; undefined for what is said on standard error. */
export function jsonLine(change: WatchChange, thresholds: readonly Threshold[]): string | undefined {
  switch (change.kind) {
    case 'reading': {
      const { device, reading } = change;
      const { metric, value, unit, atMs, receivedAtMs, qos, replay, late } = reading;
      const level = levelOf(thresholds, metric, value);
      const times = { at: isoTime(atMs), receivedAt: isoTime(receivedAtMs) };
      return JSON.stringify({ event: 'reading', device, metric, value, unit, ...times, qos, replay, late, level });
    }
    case 'presence': {
      const { state, reason, explanation, session, sinceMs, replay } = change.presence;
      const since = sinceMs === null ? null : isoTime(sinceMs);
      return JSON.stringify({
        ...{ event: 'presence', device: change.device, state, reason, explanation, session, since },
        ...{ receivedAt: isoTime(change.atMs), replay },
      });
    }
    case 'removed':
      return JSON.stringify({ event: 'removed', device: change.device, receivedAt: isoTime(change.atMs) });
    case 'unreadable': {
      const { device, topic, why, atMs } = change;
      return JSON.stringify({ event: 'unreadable', device, topic, why, receivedAt: isoTime(atMs) });
    }
    case 'alert':
      return JSON.stringify({ event: 'alert', firing: change.isFiring, ...change.alert });
    case 'feed':
      return undefined;
  }
}

/** One line for each reading and each change; what is to be said of the feed goes to standard error. */
export function lineOutput(options: { readonly json: boolean; readonly thresholds: readonly Threshold[] }): Output {
  let state = emptyState;
  let waiting: ReceivedEvent[] = [];
  let timer: NodeJS.Timeout | undefined;
  const flush = (): void => {
    clearTimeout(timer);
    timer = undefined;
    const events = waiting;
    waiting = [];
    const next = advance(state, events);
    state = next.state;
    const lines = next.changes.flatMap((change) => {
      if (change.kind === 'feed') process.stderr.write(`muster: ${safe(change.feed.text)}\n`);
      return (options.json ? jsonLine : plainLine)(change, options.thresholds) ?? [];
    });
    if (lines.length > 0) process.stdout.write(`${lines.join('\n')}\n`);
  };
  return {
    tell: (event) => {
      waiting.push(event);
      timer ??= setTimeout(flush, BATCH_MS);
    },
    close: flush,
  };
}
