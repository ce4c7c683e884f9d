import { execFile } from 'node:child_process';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { connectAsync, type MqttClient } from 'mqtt';
import { StartedSystem, stateFolder, type ReadyLine } from '../system.ts';
import { atRate, quantile, rounded, say, spreadOf, type Spread } from './figures.ts';

const RULES = 1_000;
const DEVICES = 10_000;
const CONTROL_RATE = 2_000;
const TELEMETRY_RATE = 500;
const ROUNDS = 3;
const ROUND_MS = 10_000;

interface Round {
  readonly broker: Spread;
  readonly control: Spread;
  readonly metric: Spread;
  readonly lost: number;
}

/**
 * Rules under load, on one broker: from the publication of a control message, or of a reading, to the receipt of the
 * command that a rule publishes because of it. Beside them in each round what the broker alone takes, without a rule.
 */
export async function measure(): Promise<unknown> {
  const otherRules = await costOfOtherRules();
  const system = await StartedSystem.start(['--devices', '0', '--dir', stateFolder()]);
  try {
    const { address } = system;
    const rules = Array.from({ length: RULES }, (_, index) => ruleOf(index)).join('');
    const hot = `  - { id: hot, triggers: [{ metric: temp, above: 30 }], actions: [{ publish: 'bench/hot/{device}', value: 'trigger.value' }] }\n`;
    await saved(address, `rules:\n${rules}`);
    await saved(address, `rules:\n${hot}`);
    say(`${RULES} rules, ${DEVICES} devices, ${CONTROL_RATE} control messages/s, ${TELEMETRY_RATE} readings/s`);
    const connect = (): Promise<MqttClient> => {
      const { username, password } = address.broker;
      return connectAsync(address.broker.urls[0] ?? '', { protocolVersion: 5, username, password });
    };
    const [sender, receiver] = await Promise.all([connect(), connect()]);
    await receiver.subscribeAsync(['bench/+/+/command', 'bench/plain', 'bench/hot/+'], { qos: 1 });
    const rounds: Round[] = [];
    for (let round = 0; round <= ROUNDS; round += 1) {
      const figures = await oneRound(sender, receiver);
      const title = round === 0 ? 'warm-up' : `round ${round}`;
      say(
        `${title}  broker alone ${told(figures.broker)}   control → command ${told(figures.control)}   reading → command ${told(figures.metric)}   lost ${figures.lost}`,
      );
      if (round > 0) rounds.push(figures);
    }
    const worst = (pick: (round: Round) => Spread): number => Math.max(...rounds.map((round) => pick(round).p99Ms));
    const controlP99Ms = worst(({ control }) => control);
    const metricP99Ms = worst(({ metric }) => metric);
    say(
      `\nworst p99 of ${ROUNDS} rounds: control → command ${controlP99Ms} ms (wanted ≤ 20), reading → command ${metricP99Ms} ms (wanted ≤ 300)`,
    );
    await Promise.all([sender.endAsync(true), receiver.endAsync(true)]);
    return { rules: RULES, devices: DEVICES, controlRate: CONTROL_RATE, rounds, controlP99Ms, metricP99Ms, otherRules };
  } finally {
    await system.stop();
  }
}

interface Cost {
  readonly rules: number;
  readonly usPerEvent: number;
  /** To the cost with the fewest rules, in the same round. */
  readonly ratio: { readonly median: number; readonly min: number; readonly max: number };
}

/** What an event costs the engine alone, beside more and more rules that it does not concern. */
async function costOfOtherRules(): Promise<readonly Cost[]> {
  const root = path.join(import.meta.dirname, '../..');
  const jiti = path.join(root, 'node_modules/jiti/lib/jiti-cli.mjs');
  const { stdout } = await promisify(execFile)(process.execPath, [jiti, 'apps/automation/rules-bench.ts'], {
    cwd: root,
  });
  const measured = JSON.parse(stdout) as readonly { count: number; nsPerEvent: readonly number[] }[];
  const base = measured[0]?.nsPerEvent ?? [];
  say('what an event costs beside rules that it does not concern, interleaved');
  return measured.map(({ count, nsPerEvent }) => {
    const ratios = nsPerEvent.map((ns, round) => ns / (base[round] ?? Number.NaN));
    const cost = {
      rules: count,
      usPerEvent: rounded(quantile(nsPerEvent, 0.5) / 1_000),
      ratio: {
        median: rounded(quantile(ratios, 0.5)),
        min: rounded(quantile(ratios, 0)),
        max: rounded(quantile(ratios, 1)),
      },
    };
    const { median, min, max } = cost.ratio;
    say(`  ${count} rules  ${cost.usPerEvent} µs an event  × ${median} (${min} to ${max})`);
    return cost;
  });
}

function ruleOf(index: number): string {
  return `  - { id: r${index}, triggers: [{ topic: 'bench/g${index}/{d}/motion', changes: true }], when: mode != "away", actions: [{ publish: 'bench/g${index}/{d}/command', value: trigger.value }] }\n`;
}

async function saved(address: ReadyLine, yaml: string): Promise<void> {
  const answer = await fetch(`${address.api.url}/api/v1/rules`, {
    method: 'POST',
    headers: { authorization: `Bearer ${address.api.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ yaml }),
  });
  if (!answer.ok) throw new Error(await answer.text());
}

async function oneRound(sender: MqttClient, receiver: MqttClient): Promise<Round> {
  const durations: Record<'plain' | 'control' | 'metric', number[]> = { plain: [], control: [], metric: [] };
  const sentAt = new Map<string, number>();
  const onMessage = (topic: string, payload: Buffer): void => {
    const now = performance.now();
    const [, first = ''] = topic.split('/');
    if (first === 'plain') durations.plain.push(now - Number(payload.toString()));
    else if (first === 'hot') durations.metric.push(now - (sentAt.get(topic) ?? Number.NaN));
    else durations.control.push(now - Number(payload.toString()));
  };
  receiver.on('message', onMessage);
  const publish = (topic: string, payload: string): void => void sender.publish(topic, payload, { qos: 1 });
  await atRate(CONTROL_RATE, ROUND_MS / 2, () => publish('bench/plain', String(performance.now())));
  await delay(500);
  // Every device says something first: a change needs something before it.
  const told = await atRate(CONTROL_RATE, ROUND_MS, (index) => {
    const device = index % DEVICES;
    publish(`bench/g${device % RULES}/d${device}/motion`, String(performance.now()));
  });
  await delay(1_000);
  // Below the limit first, then above it: each device fires once.
  const fired = await atRate(TELEMETRY_RATE, ROUND_MS, (index) => {
    const device = `bench-${Math.floor(index / 2) % DEVICES}`;
    const isHot = index % 2 === 1;
    if (isHot) sentAt.set(`bench/hot/${device}`, performance.now());
    publish(`devices/${device}/telemetry`, JSON.stringify({ temp: isHot ? 40 : 20, ts: Date.now() + (index % 2) }));
  });
  await delay(2_000);
  receiver.removeListener('message', onMessage);
  const wanted = Math.max(0, told - DEVICES) + Math.floor(fired / 2);
  const got = Math.min(durations.control.length, told) + durations.metric.length;
  return {
    broker: spreadOf(durations.plain),
    control: spreadOf(durations.control),
    metric: spreadOf(durations.metric),
    lost: Math.max(0, wanted - got),
  };
}

function told({ count, p50Ms, p99Ms, maxMs }: Spread): string {
  return `p50 ${p50Ms} p99 ${p99Ms} max ${maxMs} ms (${count})`;
}
