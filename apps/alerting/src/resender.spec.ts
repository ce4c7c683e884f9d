import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parseReceivers } from './receivers.ts';
import { Resender } from './resender.ts';

const INTERVAL_MS = 60_000;

describe('an Alertmanager that is told again what fires', () => {
  const said: string[] = [];
  let isIdle = true;
  let answers = true;
  let resender: Resender;

  beforeEach(() => {
    vi.useFakeTimers();
    said.length = 0;
    [isIdle, answers] = [true, true];
    const receivers = parseReceivers(
      'receivers: [{ name: am, type: alertmanager, url: "http://localhost:9093", resend: 60s }]',
      {},
    );
    const again = async (): Promise<void> => {
      await Promise.resolve();
      if (!answers) throw new Error('connection refused');
      said.push('told');
    };
    const log = (...words: readonly unknown[]): void => void said.push(String(words.at(-1)));
    const sender = { send: () => Promise.resolve(''), again, close: () => undefined };
    resender = new Resender(
      receivers,
      new Map([['am', sender]]),
      { toldOf: () => [] },
      { isIdle: () => isIdle },
      { info: log, warn: log },
    );
  });
  afterEach(() => {
    resender.close();
    vi.useRealTimers();
  });

  it('is told at once, and in its time until it is left', async () => {
    resender.start();
    await vi.advanceTimersByTimeAsync(2 * INTERVAL_MS);
    expect(said).toEqual(['told', 'told', 'told']);
    resender.close();
    await vi.advanceTimersByTimeAsync(2 * INTERVAL_MS);
    expect(said).toHaveLength(3);
  });

  it('is told nothing while there is news for it', async () => {
    isIdle = false;
    resender.start();
    await vi.advanceTimersByTimeAsync(INTERVAL_MS);
    expect(said).toEqual([]);
  });

  it('is said to take nothing once, and to take alerts again when it has taken them', async () => {
    answers = false;
    resender.start();
    await vi.advanceTimersByTimeAsync(INTERVAL_MS);
    // What it does not take is news that waits.
    isIdle = false;
    await vi.advanceTimersByTimeAsync(INTERVAL_MS);
    expect(said).toEqual(['does not take alerts']);
    [isIdle, answers] = [true, true];
    await vi.advanceTimersByTimeAsync(INTERVAL_MS);
    expect(said).toEqual(['does not take alerts', 'told', 'takes alerts again']);
  });
});
