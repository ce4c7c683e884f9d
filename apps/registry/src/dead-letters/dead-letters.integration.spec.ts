import { ChannelFollower, DEAD_LETTER_CHANNEL, openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { deadLetterPageSchema, deadLetterReplaySchema, deviceId } from '@muster/contract';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it, vi } from 'vitest';
import { DeadLetters } from './dead-letters.ts';

describe('dead letters in the registry', () => {
  let url = '';
  let database: PrismaClient;
  let letters: DeadLetters;

  beforeAll(async () => {
    url = await freshDatabase(inject('engines').postgresUrl);
    database = openDatabase(url, 'dead-letters-test');
    letters = new DeadLetters(database);
  });
  beforeEach(async () => {
    await database.$executeRaw`TRUNCATE dead_letter, dead_letter_message, dead_letter_replay, dead_letter_replay_progress, tombstone`;
  });
  afterAll(async () => {
    await database.$disconnect();
  });

  async function letter(
    device: string,
    reason: string,
    lastAtMs: number,
    messages: number,
    settled = 0,
  ): Promise<void> {
    const at = new Date(lastAtMs);
    await database.$executeRaw`
      INSERT INTO dead_letter (device, reason, topic, payload, payload_size, detail, count, settled, first_at, last_at)
      VALUES (${device}, ${reason}, 'a/b', 'x', 1, 'bad', 5, ${settled}, ${at}, ${at})`;
    await database.$executeRaw`
      INSERT INTO dead_letter_message (device, reason, detail, broker, topic, payload, received_at)
      SELECT ${device}, ${reason}, 'bad', 'mosquitto-0', 'a/b', 'x', ${at} FROM generate_series(1, ${messages}::int)`;
  }

  const page = { limit: 100 };

  it('are shown newest first, a page at a time, each once, also where many have the same instant', async () => {
    for (const [index, device] of ['a', 'b', 'c', 'd', 'e'].entries())
      await letter(device, 'bad-name', 1_000 + (index % 2), 0);
    const seen: (string | null)[] = [];
    for (let cursor: string | null | undefined; cursor !== null;) {
      const part = deadLetterPageSchema.parse(
        await letters.page({ limit: 2, ...(cursor === undefined ? {} : { cursor }) }),
      );
      seen.push(...part.items.map(({ device }) => device));
      cursor = part.next;
    }
    expect(seen).toEqual(['d', 'b', 'e', 'c', 'a']);
  });

  it('are found by device and reason; those that replays have stored are shown no more', async () => {
    await letter('a', 'bad-name', 1, 1);
    await letter('a', 'bad-value', 2, 0, 4);
    await letter('b', 'bad-name', 3, 0, 5);
    const shown = async (query: object): Promise<readonly (readonly unknown[])[]> =>
      (await letters.page({ ...page, ...query })).items.map(({ id, count, replayable }) => [id, count, replayable]);
    expect(await shown({})).toEqual([
      ['a:bad-value', 1, 0],
      ['a:bad-name', 5, 1],
    ]);
    expect(await shown({ device: deviceId('a'), reason: 'bad-name' })).toEqual([['a:bad-name', 5, 1]]);
    expect(await shown({ device: deviceId('b') })).toEqual([]);
  });

  it('are counted by a dry run, which asks nothing of ingestion', async () => {
    await letter('a', 'bad-name', 1, 3);
    await letter('', 'not-in-topic-map', 2, 1);
    const answer = await letters.replay({ dryRun: true }, 'anna');
    expect(deadLetterReplaySchema.parse(answer)).toEqual({
      ...{ dryRun: true, requested: 4, replay: null },
      letters: [
        { id: 'a:bad-name', messages: 3 },
        { id: ':not-in-topic-map', messages: 1 },
      ],
    });
    expect((await letters.page({ ...page })).replay).toBeNull();
  });

  it('are asked of ingestion with who wants it and which; it is told at once', async () => {
    await letter('a', 'bad-name', 1, 3);
    await letter('b', 'bad-name', 1, 2);
    await letter('b', 'bad-value', 1, 1);
    const told = vi.fn();
    const onError = (error: Error): void => expect.unreachable(error.message);
    const refresh = (): Promise<void> => {
      told();
      return Promise.resolve();
    };
    const follower = new ChannelFollower({ url, channel: DEAD_LETTER_CHANNEL, refresh, onError });
    await follower.start();
    const { requested, replay } = await letters.replay({ dryRun: false, ids: ['b:bad-name', 'a:bad-name'] }, 'anna');
    expect(requested).toBe(5);
    expect(replay).toMatchObject({ by: 'anna', requested: 5, left: 5, stored: 0, failedAgain: 0, endedAt: null });
    await vi.waitFor(() => expect(told).toHaveBeenCalledTimes(1));
    await follower.close();
    // What comes later for the same reason is not meant.
    await letter('c', 'bad-name', 2, 1);
    await database.$executeRaw`DELETE FROM dead_letter_message WHERE device = 'a'`;
    expect((await letters.page({ ...page })).replay).toMatchObject({ requested: 5, left: 2 });
  });

  it('of decommissioned devices can be looked at and not be replayed; where nothing is left to replay nothing is asked', async () => {
    await letter('gone', 'bad-name', 1, 3);
    await database.$executeRaw`INSERT INTO tombstone (device) VALUES ('gone')`;
    expect((await letters.page({ ...page })).items).toMatchObject([{ device: 'gone', replayable: 0 }]);
    expect(await letters.replay({ dryRun: false }, 'anna')).toEqual({
      ...{ dryRun: false, requested: 0, letters: [], replay: null },
    });
    expect((await letters.page({ ...page })).replay).toBeNull();
  });
});
