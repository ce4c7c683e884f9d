/** The supervisor gives up what ends for the sixth time within a minute; whoever is killed more rarely is started again. */
const MOST_KILLS = 4;
const WINDOW_MS = 61_000;
const SHORTEST_MS = 500;
const LONGEST_MS = 25_000;
/** One kill of so many is the broker's, beginning with the second. */
const BROKER_EVERY = 4;

/** What is killed. */
export type Victim = 'ingestion' | 'mosquitto-0';

/** Whom a kill hits, by how many there were before it. */
export function victimOf(earlierKills: number): Victim {
  return earlierKills % BROKER_EVERY === 1 ? 'mosquitto-0' : 'ingestion';
}

/**
 * When the next kill is due: at a random moment, half a second to 25 s from now, also while what was killed before
 * catches up; later only where it would be one too many for the supervisor. Times are in milliseconds.
 * @param random from 0 to 1
 */
export function nextKillAtMs(earlierMs: readonly number[], nowMs: number, random: number): number {
  const wantedMs = nowMs + SHORTEST_MS + random * (LONGEST_MS - SHORTEST_MS);
  const oldestMs = earlierMs.at(-MOST_KILLS);
  return oldestMs === undefined ? wantedMs : Math.max(wantedMs, oldestMs + WINDOW_MS);
}
