import { setTimeout as delay } from 'node:timers/promises';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, expect, inject, it } from 'vitest';
import { ChannelFollower } from './channel.ts';
import { isDataError } from './data-error.ts';
import { openDatabase } from './database.ts';

const { postgresUrl: url } = inject('engines');

describe('a statement of a service', () => {
  it('may take 30 seconds', async () => {
    const database = openDatabase(url, 'test');
    expect(await database.$queryRaw`SHOW statement_timeout`).toEqual([{ statement_timeout: '30s' }]);
    await database.$disconnect();
  });

  it('that is stuck ends with an error that may pass, and its connection takes the next one', async () => {
    const database = openDatabase(url, 'test', 1, 200);
    const stuck: unknown = await database.$queryRaw`SELECT 1 FROM pg_sleep(20)`.catch((error: unknown) => error);
    expect(stuck).toBeInstanceOf(Error);
    expect(String(stuck)).toContain('statement timeout');
    expect(isDataError(stuck)).toBe(false);
    expect(await database.$queryRaw`SELECT 1 AS one`).toEqual([{ one: 1 }]);
    await database.$disconnect();
  });

  it('that is stuck in a transaction lets go what the transaction has locked', async () => {
    const database = openDatabase(url, 'test', 2, 200);
    await database.$executeRaw`CREATE TABLE locked ()`;
    const stuck = database.$transaction(async (transaction) => {
      await transaction.$executeRaw`LOCK TABLE locked`;
      await transaction.$queryRaw`SELECT 1 FROM pg_sleep(20)`;
    });
    await expect(stuck).rejects.toThrow('statement timeout');
    await database.$executeRaw`DROP TABLE locked`;
    await database.$disconnect();
  });

  it('whose process hangs amid a transaction lets go what that has locked', async () => {
    const hung = openDatabase(url, 'test', 1, 200);
    const other = openDatabase(url, 'test', 1);
    await other.$executeRaw`CREATE TABLE hung ()`;
    const transaction = hung.$transaction(async (client) => {
      await client.$executeRaw`LOCK TABLE hung`;
      await delay(1_500);
      await client.$queryRaw`SELECT 1`;
    });
    const failed = expect(transaction).rejects.toThrow();
    await delay(100);
    await other.$executeRaw`DROP TABLE hung`;
    await failed;
    expect(await hung.$queryRaw`SELECT 1 AS one`).toEqual([{ one: 1 }]);
    await Promise.all([hung.$disconnect(), other.$disconnect()]);
  });
});

describe('a server that takes connections and says nothing', () => {
  it('does not hold up who follows a channel: it is told, and tries again', async () => {
    const sockets = new Set<Socket>();
    const mute = createServer((socket) => void sockets.add(socket.on('error', () => undefined)));
    await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
    const { port } = mute.address() as AddressInfo;
    const errors: Error[] = [];
    const follower = new ChannelFollower({
      url: `postgresql://somebody@127.0.0.1:${port}/nothing`,
      channel: 'test',
      refresh: () => Promise.resolve(),
      onError: (error) => errors.push(error),
    });
    await follower.start();
    expect(errors).toHaveLength(1);
    await follower.close();
    for (const socket of sockets) socket.destroy();
    mute.close();
  }, 15_000);
});
