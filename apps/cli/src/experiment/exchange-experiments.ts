import { connectedLife } from '@muster/planner';
import type { LineCounts, PacketName } from '@muster/simulator';
import { until, type Laboratory } from './laboratory.ts';

/** What the exchange of messages at one QoS has cost. */
export interface ExchangeFigures {
  readonly qos: 0 | 1 | 2;
  readonly messages: number;
  /** From PUBLISH to the last acknowledgement; at QoS 0 there is none. */
  readonly exchangeMs: { readonly median: number; readonly p99: number };
  readonly publishBytesPerMessage: number;
  readonly acknowledgementBytesPerMessage: number;
  readonly received: number;
}

/** What a broker makes of redelivered messages, and what is left of them by their numbers. */
export interface DuplicateFigures {
  readonly sent: number;
  readonly received: number;
  readonly duplicates: number;
  readonly distinct: number;
}

/** How long a battery lasts with exchanges as they were measured. */
export interface BatteryFigures {
  readonly qos: 0 | 1 | 2;
  readonly exchangeMs: number;
  readonly radioOnMs: number;
  readonly courseDays: number;
  readonly honestDays: number;
}

const SPEED = 100;
const EXPERIMENT_LIMIT_MS = 60_000;
const ACKNOWLEDGEMENTS: readonly PacketName[] = ['puback', 'pubrec', 'pubrel', 'pubcomp'];
/** The radio is on for the exchange, and before and after it: what the course counts for a message that nobody answers. */
const RADIO_ROUND_MS = 50;

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}

function acknowledgementBytes({ toBroker, toClient }: LineCounts): number {
  return ACKNOWLEDGEMENTS.reduce(
    (sum, name) => sum + (toBroker.packets[name]?.bytes ?? 0) + (toClient.packets[name]?.bytes ?? 0),
    0,
  );
}

/** A hundred messages, or as many as are wanted, at each QoS, over a line with a round trip of so long. */
export async function compareQos(
  laboratory: Laboratory,
  messages: number,
  roundTripMs: number,
  onProgress: (text: string) => void,
): Promise<readonly ExchangeFigures[]> {
  const figures: ExchangeFigures[] = [];
  for (const qos of [0, 1, 2] as const) {
    onProgress(`${messages} messages at QoS ${qos}`);
    figures.push(await exchange(laboratory, qos, messages, roundTripMs));
  }
  return figures;
}

async function exchange(
  laboratory: Laboratory,
  qos: 0 | 1 | 2,
  messages: number,
  roundTripMs: number,
): Promise<ExchangeFigures> {
  const id = `qos-${qos}`;
  const received = await laboratory.subscriber(`devices/${id}/telemetry`);
  const begun = new Map<number, number>();
  const durations: number[] = [];
  let sent = 0;
  let tenths = 200;
  let isReady = false;
  let told = 0;
  const device = laboratory.device({
    id,
    // A change at each look, until there were enough; then none for a day.
    settings: { sample: 2, heartbeat: 86_400, temp_band: 0.1, telemetry_qos: qos, battery: 604_800, battery_qos: 1 },
    speed: SPEED,
    temperature: () => (isReady && sent < messages ? (tenths = tenths === 200 ? 210 : 200) : tenths),
    observer: {
      onPublished: ({ topic, payload }, token) => {
        if (!topic.endsWith('/telemetry')) told += 1;
        else if (isReady && payload.includes('"temp"')) {
          sent += 1;
          begun.set(token, performance.now());
        }
      },
      onAcknowledged: (token) => {
        const atMs = begun.get(token);
        if (atMs !== undefined) durations.push(performance.now() - atMs);
      },
    },
  });
  laboratory.line.delay(roundTripMs / 2);
  device.start();
  await until(() => told >= 2 && received.length > 0, 'the birth of the device', EXPERIMENT_LIMIT_MS);
  await settled(roundTripMs);
  const before = received.length;
  laboratory.line.takeCounts();
  isReady = true;
  await until(() => sent >= messages, `the ${messages}th message at QoS ${qos}`, EXPERIMENT_LIMIT_MS);
  await until(
    () => received.length - before >= messages && (qos === 0 || durations.length >= messages),
    `the end of all exchanges at QoS ${qos}`,
    EXPERIMENT_LIMIT_MS,
  );
  await settled(roundTripMs);
  const counts = laboratory.line.takeCounts();
  device.crash();
  laboratory.line.delay(0);
  return {
    qos,
    messages: sent,
    exchangeMs: { median: rounded(quantile(durations, 0.5)), p99: rounded(quantile(durations, 0.99)) },
    publishBytesPerMessage: rounded((counts.toBroker.packets.publish?.bytes ?? 0) / sent),
    acknowledgementBytesPerMessage: rounded(acknowledgementBytes(counts) / sent),
    received: received.length - before,
  };
}

async function settled(roundTripMs: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 2 * roundTripMs + 100));
}

/** Messages at QoS 1 whose acknowledgements are lost with the connection: they come twice, and are known by their numbers. */
export async function countDuplicates(
  laboratory: Laboratory,
  losses: number,
  onProgress: (text: string) => void,
): Promise<DuplicateFigures> {
  const received = await laboratory.subscriber('devices/duplicates/telemetry');
  let tenths = 200;
  const device = laboratory.device({
    id: 'duplicates',
    settings: { sample: 2, heartbeat: 86_400, temp_band: 0.1, telemetry_qos: 1, battery: 604_800 },
    speed: SPEED / 10,
    temperature: () => (tenths = tenths === 200 ? 210 : 200),
  });
  device.start();
  for (let loss = 1; loss <= losses; loss += 1) {
    onProgress(`acknowledgement ${loss} of ${losses} is lost`);
    const enough = received.length + 3;
    await until(() => received.length >= enough, 'a message before the loss', EXPERIMENT_LIMIT_MS);
    laboratory.line.freeze('to-client');
    const lost = received.length;
    await until(() => received.length > lost, 'a message whose acknowledgement is lost', EXPERIMENT_LIMIT_MS);
    laboratory.line.cut();
    laboratory.line.mend();
  }
  const last = received.length + 3;
  await until(() => received.length >= last, 'messages after the last loss', EXPERIMENT_LIMIT_MS);
  await device.stop('shutdown');
  const numbers = received.map(({ text }) => {
    const { session, seq } = JSON.parse(text) as { session: number; seq: number };
    return `${session} ${seq}`;
  });
  const distinct = new Set(numbers).size;
  return { sent: distinct, received: numbers.length, duplicates: numbers.length - distinct, distinct };
}

/** What exchanges cost a battery, with the times that were measured. */
export function batteryOf(exchanges: readonly ExchangeFigures[], batteryMah: number): readonly BatteryFigures[] {
  return exchanges.map(({ qos, exchangeMs }) => {
    const radioOnMs = RADIO_ROUND_MS + exchangeMs.median;
    const { course, honest } = connectedLife({
      ...{ batteryMah, intervalSeconds: 60, radioMa: 120, radioOnMs, idleMode: 'modem-sleep', dtim: 1 },
      ...{ keepAliveSeconds: 60, pingMs: RADIO_ROUND_MS, boardMa: 3.8, selfDischargePercentPerMonth: 2.5 },
    });
    return {
      ...{ qos, exchangeMs: exchangeMs.median, radioOnMs: rounded(radioOnMs) },
      courseDays: rounded(course),
      honestDays: rounded(honest),
    };
  });
}
