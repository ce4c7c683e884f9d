import { ExperimentError, until, type Laboratory, type Received } from './laboratory.ts';

/** When the will of a device came. */
export interface InterruptionFigures {
  readonly keepAliveSeconds: number;
  /** After a network that ended with a word of its own (RST), as a router that is switched off by hand. */
  readonly afterResetMs: number;
  /** After a network that just stopped: nobody is told, and the broker waits for 1.5 times the keep-alive. */
  readonly afterSilenceSeconds: number;
  readonly ofKeepAlive: number;
}

/** What a subscriber learns that comes later. */
export interface RetainedFigures {
  readonly online: { readonly afterMs: number; readonly text: string };
  readonly afterPowerLoss: { readonly afterMs: number; readonly text: string };
  /** What is not retained does not come: nobody knows when the last one was. */
  readonly telemetryAtOnce: number;
}

const CONNECT_LIMIT_MS = 20_000;
/** A broker looks after its clients every few seconds (mqtt-pitfalls B10: 0.8 to 1.7 times the keep-alive). */
const WILL_LIMIT_FACTOR = 2.5;
const LOOK_MS = 1_000;

function statusOf({ text }: Received): string {
  return (JSON.parse(text) as { status: string }).status;
}

/**
 * The network of a device is reset, and falls silent: how long until its will says so.
 * @throws ExperimentError
 */
export async function interrupt(
  laboratory: Laboratory,
  keepAliveSeconds: number,
  onProgress: (text: string) => void,
): Promise<InterruptionFigures> {
  const received = await laboratory.subscriber('devices/interrupted/status');
  const device = laboratory.device({
    id: 'interrupted',
    settings: { keep_alive: keepAliveSeconds, heartbeat: 86_400 },
  });
  device.start();
  const last = (): string | undefined => {
    const [newest] = received.slice(-1);
    return newest === undefined ? undefined : statusOf(newest);
  };
  await until(() => last() === 'online', 'the birth of the device', CONNECT_LIMIT_MS);
  onProgress('the network is reset');
  const resetAt = performance.now();
  laboratory.line.cut();
  await until(() => last() === 'offline', 'the will after a reset', CONNECT_LIMIT_MS);
  const afterResetMs = (received.at(-1)?.atMs ?? resetAt) - resetAt;
  laboratory.line.mend();
  await until(() => last() === 'online', 'the device to come back', 2 * CONNECT_LIMIT_MS);
  onProgress(`the network falls silent: the will is due after ${1.5 * keepAliveSeconds} s`);
  const silentAt = performance.now();
  laboratory.line.freeze();
  await until(() => last() === 'offline', 'the will after silence', keepAliveSeconds * WILL_LIMIT_FACTOR * 1_000);
  const afterSilenceSeconds = ((received.at(-1)?.atMs ?? silentAt) - silentAt) / 1_000;
  device.crash();
  laboratory.line.mend();
  return {
    keepAliveSeconds,
    afterResetMs: Math.round(afterResetMs),
    afterSilenceSeconds: Math.round(afterSilenceSeconds * 10) / 10,
    ofKeepAlive: Math.round((afterSilenceSeconds / keepAliveSeconds) * 100) / 100,
  };
}

/**
 * Somebody subscribes when everything has been said: the retained status comes at once, telemetry does not.
 * @throws ExperimentError
 */
export async function subscribeLate(
  laboratory: Laboratory,
  onProgress: (text: string) => void,
): Promise<RetainedFigures> {
  const device = laboratory.device({ id: 'late', settings: { heartbeat: 86_400 } });
  const early = await laboratory.subscriber('devices/late/#');
  device.start();
  await until(() => early.some(({ topic }) => topic.endsWith('/telemetry')), 'the first reading', CONNECT_LIMIT_MS);
  onProgress('somebody subscribes while the device is online');
  const online = await firstStatus(laboratory);
  const telemetry = await laboratory.subscriber('devices/late/telemetry');
  await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  device.crash();
  const isOffline = ({ topic, text }: Received): boolean => topic.endsWith('/status') && text.includes('offline');
  await until(() => early.some(isOffline), 'the will of the device', CONNECT_LIMIT_MS);
  onProgress('somebody subscribes after the device has lost power');
  return { online, afterPowerLoss: await firstStatus(laboratory), telemetryAtOnce: telemetry.length };
}

async function firstStatus(laboratory: Laboratory): Promise<{ readonly afterMs: number; readonly text: string }> {
  const startedAt = performance.now();
  const received = await laboratory.subscriber('devices/late/status');
  await until(() => received.length > 0, 'the retained status', CONNECT_LIMIT_MS);
  const [first] = received;
  if (first?.retained !== true) throw new ExperimentError('what came first was not retained');
  return { afterMs: Math.round(first.atMs - startedAt), text: first.text };
}
