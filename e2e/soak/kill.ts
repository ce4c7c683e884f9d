import { setTimeout as delay } from 'node:timers/promises';
import { rangeOf, told } from '../bench/figures.ts';
import { NumberedSender } from '../numbered-sender.ts';
import { nextKillAtMs, victimOf, type Victim } from './kill-plan.ts';
import type { SoakResult } from './report.ts';
import { grouped, SoakError, within, type SoakScene } from './scene.ts';

const RESTART_LIMIT_MS = 30_000;
const POLL_MS = 10;
const READY_POLL_MS = 250;
/** What a broker wrote last is on disk by then. */
const SAVED_MS = 500;
const CALM_MS = 2_000;
const STOP_LIMIT_MS = 60_000;
const EMPTY_LIMIT_MS = 60_000;

/** For how long, and under what. */
export interface KillScale {
  readonly durationMs: number;
  readonly senders: number;
  /** Between twenty messages of a sender and the next. */
  readonly pauseMs: number;
}

interface Kill {
  readonly victim: Victim;
  readonly atMs: number;
  /** Until the supervisor had started it again. */
  readonly downMs: number;
}

/** Resolves when ingestion answers and holds nothing of what the broker had kept for it. */
async function whenCalm({ bench }: SoakScene): Promise<void> {
  for (;;) {
    const figures = await bench.figures(['in_hand']).catch((error: unknown) => {
      // It is about to start: the limit is the caller's.
      if (error instanceof TypeError) return undefined;
      throw error;
    });
    if (figures !== undefined) break;
    await delay(READY_POLL_MS);
  }
  await delay(CALM_MS);
}

async function kill(scene: SoakScene, victim: Victim): Promise<Kill> {
  const { system } = scene.bench;
  if (victim === 'mosquitto-0') {
    // A broker keeps in memory alone what it took since it saved last: only what it has passed on by then can outlive it.
    await within(whenCalm(scene), RESTART_LIMIT_MS, 'the start of ingestion');
    process.kill(system.pidOf(victim), 'SIGUSR1');
    await delay(SAVED_MS);
  }
  const earlier = system.events.length;
  const atMs = Date.now();
  process.kill(system.pidOf(victim), 'SIGKILL');
  for (;;) {
    const own = system.events.slice(earlier).filter(({ name }) => name === victim);
    if (own.some(({ event }) => event === 'restarted')) break;
    if (own.some(({ event }) => event === 'gave-up')) throw new SoakError(`the supervisor has given ${victim} up`);
    if (Date.now() - atMs > RESTART_LIMIT_MS) throw new SoakError(`${victim} was not started again`);
    await delay(POLL_MS);
  }
  const downMs = Date.now() - atMs;
  scene.tell(`${victim} was killed, and started again after ${downMs} ms`);
  return { victim, atMs, downMs };
}

async function killAgainAndAgain(scene: SoakScene, durationMs: number): Promise<readonly Kill[]> {
  const kills: Kill[] = [];
  const untilMs = Date.now() + durationMs;
  for (;;) {
    const killsMs = kills.map(({ atMs }) => atMs);
    const dueMs = nextKillAtMs(killsMs, Date.now(), Math.random());
    if (dueMs > untilMs) {
      await delay(Math.max(0, untilMs - Date.now()));
      return kills;
    }
    await delay(dueMs - Date.now());
    kills.push(await kill(scene, victimOf(kills.length)));
  }
}

/** Ingestion and the broker are killed with SIGKILL at random moments: nothing is missing. */
export async function killed(scene: SoakScene, { durationMs, senders, pauseMs }: KillScale): Promise<SoakResult> {
  const { urls, username, password } = scene.bench.system.address.broker;
  const target = { url: urls[0] ?? '', username, password };
  const devices = await Promise.all(
    Array.from({ length: senders }, (_, index) => NumberedSender.start(target, `killed-${index}`, pauseMs)),
  );
  const kills = await killAgainAndAgain(scene, durationMs);
  const sent = await within(Promise.all(devices.map((device) => device.stop())), STOP_LIMIT_MS, 'the end of sending');
  const emptyAtMs = await scene.emptyAtMs(EMPTY_LIMIT_MS);
  const total = sent.reduce((sum, count) => sum + count, 0);
  const startAtMs = Math.min(...devices.map(({ beginMs }) => beginMs));
  const endedAtMs = Math.max(...devices.map(({ beginMs }, index) => beginMs + (sent[index] ?? 0)));
  const hits = (victim: Victim): readonly Kill[] => kills.filter((one) => one.victim === victim);
  return {
    conditions: `${senders} devices, ${grouped(Math.round((total * 1_000) / durationMs))} messages/s at QoS 1 for ${durationMs / 1_000} s, and kills with SIGKILL at random moments. The broker saves its state before its own: what only its memory had would be gone, whoever reads from it.`,
    guarantees: [
      await scene.expectAll(total, { startAtMs, endedAtMs }),
      {
        promise: 'nothing waits in the end',
        found: emptyAtMs === undefined ? 'something did' : 'nothing',
        holds: emptyAtMs !== undefined,
      },
    ],
    columns: ['killed', 'times', 'started again after, ms'],
    rows: (['ingestion', 'mosquitto-0'] as const).map((victim) => [
      victim,
      hits(victim).length,
      hits(victim).length === 0 ? '' : told(rangeOf(hits(victim).map(({ downMs }) => downMs))),
    ]),
  };
}
