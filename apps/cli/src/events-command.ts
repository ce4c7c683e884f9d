import { setTimeout as delay } from 'node:timers/promises';
import { ReconnectPace } from '@muster/broker';
import {
  eventKindSchema,
  eventQuerySchema,
  eventResetSchema,
  eventSchema,
  type DeviceId,
  type EventKind,
  type FleetEvent,
} from '@muster/contract';
import { Option, type Command } from 'commander';
import { z } from 'zod';
import { ApiError } from './api-client.ts';
import { apiTarget, withApi } from './api-target.ts';
import { deviceArgument } from './arguments.ts';
import { eventData, readEventStream } from './event-stream.ts';
import { plain, say, write, type OutputOptions } from './output.ts';
import { UsageError } from './up/settings.ts';

const WHAT = 'events';

interface EventsOptions extends OutputOptions {
  readonly kind: readonly EventKind[];
  readonly device: readonly DeviceId[];
  readonly after?: string;
}

/** What happened, as a line for people. */
export function eventLine(event: FleetEvent): string {
  return plain([event.at, event.kind.padEnd('decommission'.length), textOf(event)].join('  '));
}

function textOf(event: FleetEvent): string {
  switch (event.kind) {
    case 'presence': {
      const { from, to, reason, explanation, broker } = event.data;
      return `${event.device}: ${from} -> ${to} (${reason}, ${broker}): ${explanation}`;
    }
    case 'device':
      return `${event.device} ${event.data.change}`;
    case 'decommission':
      return `${event.device} ${event.data.state}`;
    case 'alert': {
      const { change, rule, severity, summary, actor, alert } = event.data;
      return `${severity} ${rule} ${change}${actor === null ? '' : ` by ${actor}`}: ${summary} (${alert})`;
    }
    case 'command':
    case 'config':
      return `${event.device} ${event.data.id} ${event.data.state}`;
    case 'incident': {
      const { broker, kind, devices } = event.data;
      return `${broker} ${kind}: ${devices === 1 ? '1 device' : `${devices} devices`}`;
    }
  }
}

function eventIn(data: string): FleetEvent {
  const parsed = eventSchema.safeParse(eventData(WHAT, data));
  if (!parsed.success) throw new ApiError('an event is not as this version expects it');
  return parsed.data;
}

function cursor(text: string): string {
  const parsed = eventQuerySchema.shape.after.safeParse(text);
  if (!parsed.success) throw new UsageError(`--after: ${z.prettifyError(parsed.error)}; found ${JSON.stringify(text)}`);
  return text;
}

/** Prints what happens until the process is told to end; goes on where a connection broke, so that nothing is missing. */
async function follow(command: Command, { kind, device, after, json }: EventsOptions): Promise<void> {
  const target = apiTarget(command);
  const end = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => end.abort());
  process.stdout.on('error', () => end.abort());
  const pace = new ReconnectPace();
  let known = after;
  let wasAway = false;
  while (!end.signal.aborted) {
    const query = new URLSearchParams([
      ...kind.map((one): [string, string] => ['kind', one]),
      ...device.map((one): [string, string] => ['device', one]),
      ...(known === undefined ? [] : [['after', known] satisfies [string, string]]),
    ]).toString();
    try {
      await readEventStream({
        ...{ target, what: WHAT, path: `/events${query === '' ? '' : `?${query}`}`, signal: end.signal },
        onOpen: () => {
          pace.connected(Date.now());
          if (wasAway) say(`${target.url} is back`);
          wasAway = false;
        },
        onEvent: ({ id, event, data }) => {
          if (event === 'reset') {
            const reset = eventResetSchema.safeParse(eventData(WHAT, data));
            const { reason } = reset.success ? reset.data : { reason: 'events are missing' };
            if (json) write(JSON.stringify({ kind: 'reset', id, reason }));
            else say(reason);
          } else if (eventKindSchema.safeParse(event).success) {
            const happened = eventIn(data);
            write(json ? JSON.stringify(happened) : eventLine(happened));
          }
          // Behind what was printed, and of kinds that this version does not know too.
          known = id ?? known;
        },
      });
    } catch (error) {
      if (!(error instanceof ApiError) || (error.status !== undefined && error.status < 500)) throw error;
      const waitMs = pace.lost(Date.now(), Math.random());
      say(`${error.message}; trying again in ${(waitMs / 1000).toFixed(1)} s`);
      wasAway = true;
      // Its only error is that it was ended.
      await delay(waitMs, undefined, { signal: end.signal }).catch(() => undefined);
    }
  }
}

/** Adds `muster events` to the command line. */
export function addEventsCommand(muster: Command): void {
  const list = <Item>(item: Item, before: readonly Item[]): readonly Item[] => [...before, item];
  withApi(
    muster
      .command('events')
      .description('what happens in the fleet, as it happens; goes on by itself where it broke off'),
  )
    .addOption(new Option('--kind <kind...>', 'only these').choices(eventKindSchema.options).default([], 'all'))
    .option(
      '--device <device>',
      'only about this one; repeat it for more',
      (text: string, before: readonly DeviceId[]) => list(deviceArgument(text), before),
      [],
    )
    .option('--after <event>', 'begin behind this event, of the last 24 h; its id is in --json', cursor)
    .action(async (options: EventsOptions, command: Command) => follow(command, options));
}
