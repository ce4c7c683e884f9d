import {
  deadLetterPageSchema,
  deadLetterReplaySchema,
  type DeadLetterPage,
  type DeadLetterReplayProgress,
  type DeadLetterView,
} from '@muster/contract';
import type { Command } from 'commander';
import { callApi, type ApiTarget } from './api-client.ts';
import { apiTarget, withApi } from './api-target.ts';
import { deviceArgument, wholeNumber } from './arguments.ts';
import { say, table, write, type OutputOptions } from './output.ts';

const MAX_PAGE = 1_000;
const MAX_CELL = 60;

interface ChoiceOptions extends OutputOptions {
  readonly device?: string;
  readonly reason?: string;
}

interface ReplayOptions extends ChoiceOptions {
  readonly letter?: readonly string[];
  readonly dryRun?: true;
}

/** How far a replay is, as a sentence. */
export function progressText({
  requestedAt,
  by,
  requested,
  left,
  stored,
  failedAgain,
}: DeadLetterReplayProgress): string {
  const told = `${stored} of ${requested} stored, ${failedAgain} could not be used again, ${left} left`;
  return `replay of ${requestedAt} by ${by}: ${told}`;
}

/** A text that fits into a column. */
function short(text: string): string {
  return text.length > MAX_CELL ? `${text.slice(0, MAX_CELL - 1)}…` : text;
}

function cells({
  device,
  reason,
  count,
  replayable,
  lastAt,
  topic,
  detail,
  payload,
}: DeadLetterView): readonly string[] {
  return [
    ...[device ?? '-', reason, String(count), String(replayable), lastAt],
    ...[short(topic), short(detail), short(payload ?? '(not text)')],
  ];
}

async function list(
  target: ApiTarget,
  { device, reason, json, limit }: ChoiceOptions & { limit: number },
): Promise<void> {
  const items: DeadLetterView[] = [];
  let replay: DeadLetterReplayProgress | null = null;
  for (let cursor: string | null | undefined; cursor !== null && items.length < limit;) {
    const query = new URLSearchParams({
      limit: String(Math.min(MAX_PAGE, limit - items.length)),
      ...(device === undefined ? {} : { device }),
      ...(reason === undefined ? {} : { reason }),
      ...(cursor === undefined ? {} : { cursor }),
    });
    const page: DeadLetterPage = await callApi(
      target,
      'GET',
      `/dead-letters?${query.toString()}`,
      deadLetterPageSchema,
    );
    items.push(...page.items);
    ({ next: cursor, replay } = page);
  }
  if (json) {
    write(JSON.stringify({ items, replay }));
    return;
  }
  if (items.length === 0) say('no dead letters: all telemetry could be used');
  else
    write(
      table(
        ['DEVICE', 'REASON', 'COUNT', 'REPLAYABLE', 'LAST', 'TOPIC', 'WHAT WAS WRONG', 'PAYLOAD'],
        items.map(cells),
      ),
    );
  if (replay !== null) say(progressText(replay));
}

async function replay(target: ApiTarget, { device, reason, letter, dryRun, json }: ReplayOptions): Promise<void> {
  const answer = await callApi(target, 'POST', '/dead-letters/replay', deadLetterReplaySchema, {
    ...(device === undefined ? {} : { device }),
    ...(reason === undefined ? {} : { reason }),
    ...(letter === undefined ? {} : { ids: letter }),
    dryRun: dryRun === true,
  });
  if (json) {
    write(JSON.stringify(answer));
    return;
  }
  if (answer.requested === 0) {
    say('nothing to read again: no message of such a dead letter is kept');
    return;
  }
  write(
    table(
      ['DEAD LETTER', answer.dryRun ? 'WOULD BE READ AGAIN' : 'READ AGAIN'],
      answer.letters.map(({ id, messages }) => [id, String(messages)]),
    ),
  );
  if (!answer.dryRun) say(`${answer.requested} messages are read again; muster dead-letters tells how far that is`);
}

function addLetter(text: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), text];
}

/** Adds `muster dead-letters …` to the command line. */
export function addDeadLetterCommands(muster: Command): void {
  const letters = withApi(
    muster.command('dead-letters').description('telemetry that could not be used, and why, the newest first'),
  )
    .option('--device <id>', 'only of this one', deviceArgument)
    .option('--reason <reason>', 'only for this one, such as not-a-number')
    .option('--limit <letters>', 'so many at most', wholeNumber(1, 1_000_000), 100)
    .action(async (options: ChoiceOptions & { limit: number }, command: Command) => {
      await list(apiTarget(command), options);
    });
  withApi(letters.command('replay').description('read the kept messages again by the topic map of now; all, or some'))
    .option('--device <id>', 'only of this one', deviceArgument)
    .option('--reason <reason>', 'only for this one, such as not-a-number')
    .option('--letter <device:reason>', 'only of this dead letter; may be given again', addLetter)
    .option('--dry-run', 'only count what would be read')
    .action(async (_: ReplayOptions, command: Command) => {
      // What the list has too is taken by it, also behind `replay`.
      await replay(apiTarget(command), command.optsWithGlobals<ReplayOptions>());
    });
}
