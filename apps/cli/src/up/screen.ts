import { setTimeout as delay } from 'node:timers/promises';
import { fleetSummarySchema } from '@muster/contract';
import type { UpOptions } from './settings.ts';
import type { SystemAddress } from './system.ts';

const LIVE_EVERY_MS = 1_000;
/** The rate is over ten seconds: devices report every few. */
const SAMPLES_KEPT = 11;
/** Where the output is no terminal, a line now and then is enough. */
const PLAIN_EVERY_MS = 10_000;

/** The one screen that tells where everything is and how to stop. */
export function showReady(address: SystemAddress, options: UpOptions): void {
  const { broker, api } = address;
  const shared =
    broker.username === null
      ? ''
      : `\n             user ${broker.username}, password ${broker.password}, for any device`;
  const ca = broker.ca === null ? '' : `\n             certificates of ${broker.ca}`;
  process.stdout.write(`
  Muster is ready.

  Console    ${address.console.url}/#token=${api.token}
  API        ${api.url}/api/v1/devices     documentation ${api.url}/docs
             token ${api.token}
  Broker     ${broker.urls.join('  ')}${shared}${ca}
  State      ${options.dir}     logs in ${options.dir}/logs

  Be a device:
    npm run --silent muster device credentials lab1     (an account, and what to type with it)
    npm run --silent muster device show lab1

  Stop with Ctrl-C; the state stays, and the next start picks it up.

`);
}

/** Shows devices online and readings a second until it is aborted. */
export async function showLiveLine(api: SystemAddress['api'], metricsUrl: string, signal: AbortSignal): Promise<void> {
  const terminal = process.stdout.isTTY;
  let samples: readonly Sample[] = [];
  while (!signal.aborted) {
    let line: string;
    try {
      const summary = fleetSummarySchema.parse(
        await (
          await fetch(`${api.url}/api/v1/presence/summary`, {
            signal,
            headers: { authorization: `Bearer ${api.token}` },
          })
        ).json(),
      );
      const readings = readingsTotal(await (await fetch(metricsUrl, { signal })).text());
      samples = [...samples, { readings, atMs: performance.now() }].slice(-SAMPLES_KEPT);
      line = `${summary.presence.online} of ${summary.devices} devices online, ${perSecond(samples).toFixed(1)} readings/s`;
    } catch (error) {
      if (error instanceof Error && error.name === 'AbortError') return;
      line = `no figures at the moment: ${error instanceof Error ? error.message : String(error)}`;
    }
    process.stdout.write(terminal ? `\r\u001b[K  ${line}` : `  ${new Date().toISOString()}  ${line}\n`);
    await delay(terminal ? LIVE_EVERY_MS : PLAIN_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** The count of readings at one time. */
export interface Sample {
  readonly readings: number;
  readonly atMs: number;
}

/** Readings a second between the first and the last sample; 0 while there is but one, or after the count began anew. */
export function perSecond(samples: readonly Sample[]): number {
  const first = samples.at(0);
  const last = samples.at(-1);
  if (first === undefined || last === undefined || last.atMs <= first.atMs) return 0;
  return Math.max(0, ((last.readings - first.readings) * 1000) / (last.atMs - first.atMs));
}

/** The count of readings in ingestion's metrics, over all brokers. */
export function readingsTotal(metrics: string): number {
  const counts = metrics.matchAll(/^muster_ingestion_readings_total(?:\{[^}]*\})? (\S+)$/gm);
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
}
