import { setTimeout as delay } from 'node:timers/promises';
import { connectAsync } from 'mqtt';
import { StartedSystem, stateFolder } from '../system.ts';
import { atRate, quantile, rounded, say } from './figures.ts';
import { processorMs } from './processor.ts';

const TELEMETRY_RATE = 2_000;
const DEVICES = 1_000;
const ROUNDS = 5;
const PHASE_MS = 6_000;

/**
 * What the broker pays for telemetry that ingestion alone reads, and for each further consumer of the digest: its
 * processor time, in interleaved phases with none, one and two consumers that want everything.
 */
export async function measure(): Promise<unknown> {
  const system = await StartedSystem.start(['--devices', '0', '--dir', stateFolder()]);
  try {
    const { address } = system;
    const pid = address.pids['mosquitto-0'] ?? 0;
    const { username, password } = address.broker;
    const sender = await connectAsync(address.broker.urls[0] ?? '', { protocolVersion: 5, username, password });
    const open: AbortController[] = [];
    let receivedBytes = 0;
    const listen = async (): Promise<void> => {
      const abort = new AbortController();
      const answer = await fetch(`${address.api.url}/api/v1/live`, {
        headers: { authorization: `Bearer ${address.api.token}` },
        signal: abort.signal,
      });
      open.push(abort);
      const count = new WritableStream<Uint8Array>({ write: (chunk) => void (receivedBytes += chunk.length) });
      // It ends when it is aborted.
      answer.body?.pipeTo(count).catch(() => undefined);
    };
    const phase = async (): Promise<number> => {
      await delay(500);
      const before = processorMs(pid);
      await atRate(TELEMETRY_RATE, PHASE_MS, (index) => {
        const payload = JSON.stringify({ temp: 20 + (index % 100) / 10, hum: 45, ts: Date.now(), seq: index + 1 });
        sender.publish(`devices/bench-${index % DEVICES}/telemetry`, payload, { qos: 1 });
      });
      await delay(500);
      return processorMs(pid) - before;
    };
    await phase();
    const rounds: { readonly none: number; readonly one: number }[] = [];
    for (let round = 1; round <= ROUNDS; round += 1) {
      const isOneFirst = round % 2 === 0;
      if (isOneFirst) await listen();
      const first = await phase();
      if (isOneFirst) open.pop()?.abort();
      else await listen();
      const second = await phase();
      open.pop()?.abort();
      const figures = isOneFirst ? { none: second, one: first } : { none: first, one: second };
      rounds.push(figures);
      say(`round ${round}  broker without a consumer ${rounded(figures.none)} ms, with one ${rounded(figures.one)} ms`);
    }
    const shares = rounds.map(({ none, one }) => ((one - none) / none) * 100);
    const costPercent = rounded(quantile(shares, 0.5));
    const spread = [Math.min(...shares), Math.max(...shares)].map(rounded);
    say(
      `\na consumer costs the broker ${costPercent} % of the telemetry's cost (median of ${ROUNDS}, ${spread.join(' to ')} %; wanted < 5)`,
    );
    say(`the consumer received ${Math.round(receivedBytes / 1024)} KiB`);
    if (receivedBytes === 0) throw new Error('nothing was consumed, so nothing was measured');
    await sender.endAsync(true);
    return { rate: TELEMETRY_RATE, rounds, costPercent, spread };
  } finally {
    await system.stop();
  }
}
