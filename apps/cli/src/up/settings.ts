import { claimPort, freePort, type EngineWay } from '@muster/engines';

/** The ports that can be chosen by name. */
export const PORT_NAMES = [
  'broker',
  'api',
  'postgres',
  'influxdb',
  'agent',
  'ingestion',
  'presence',
  'automation',
  'alerting',
] as const;
/** See {@link PORT_NAMES}. */
export type PortName = (typeof PORT_NAMES)[number];

/** What `muster up` was asked for. */
export interface UpOptions {
  readonly json: boolean;
  readonly devices: number;
  readonly brokers: number;
  readonly engines: EngineWay;
  /** Whether brokers speak TLS alone, with certificates of an authority that is made at the first start. */
  readonly tls: boolean;
  /** Whether there is an account that any number of devices may share. */
  readonly sharedAccount: boolean;
  /** Ends by itself after so many milliseconds. */
  readonly forMs: number | undefined;
  readonly dir: string;
  /** Starts a service again when its build changes. */
  readonly watch: boolean;
  readonly ports: ReadonlyMap<PortName, number>;
}

/** A command was given something that it cannot take; shown in one line, exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly code = 'usage';
}

const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/;
const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** What a timer of Node can wait. */
const LONGEST_MS = 24 * 86_400_000;

/**
 * `90s`, `5m`, `1.5h`, `500ms` in milliseconds.
 * @throws UsageError
 */
export function durationMs(text: string): number {
  const [, amount, unit] = DURATION.exec(text) ?? [];
  const factor = unit === undefined ? undefined : UNITS[unit];
  if (amount === undefined || factor === undefined)
    throw new UsageError(`expected a duration such as 60s, 5m or 1h; found ${JSON.stringify(text)}`);
  const milliseconds = Number(amount) * factor;
  if (milliseconds > LONGEST_MS) throw new UsageError(`expected at most 24 days; found ${JSON.stringify(text)}`);
  return milliseconds;
}

/**
 * `NAME=NUMBER` added to the ports that were chosen before.
 * @throws UsageError
 */
export function addPort(text: string, chosen: ReadonlyMap<PortName, number>): ReadonlyMap<PortName, number> {
  const [, name, number] = /^([a-z]+)=(\d{1,5})$/.exec(text) ?? [];
  const known = PORT_NAMES.find((candidate) => candidate === name);
  if (known === undefined || Number(number) < 1 || Number(number) > 65_535) {
    throw new UsageError(
      `expected --port NAME=NUMBER with NAME one of ${PORT_NAMES.join(', ')}; found ${JSON.stringify(text)}`,
    );
  }
  return new Map([...chosen, [known, Number(number)]]);
}

/** The well-known ports of MQTT (IANA), and ours of the API. */
function defaultPort(name: PortName, tls: boolean): number | undefined {
  if (name === 'broker') return tls ? 8883 : 1883;
  return name === 'api' ? 8300 : undefined;
}

/**
 * The port of each name: the chosen one, else for people the well-known one, else a free one.
 * @throws EngineError `port-taken`; UsageError where two names got the same
 */
export async function choosePorts(
  options: Pick<UpOptions, 'json' | 'ports' | 'tls'>,
): Promise<Readonly<Record<PortName, number>>> {
  const entries: [PortName, number][] = [];
  const names = [...options.ports.keys()];
  const clash = names.find((name, index) =>
    names.slice(0, index).some((other) => options.ports.get(other) === options.ports.get(name)),
  );
  if (clash !== undefined)
    throw new UsageError(`--port gives ${options.ports.get(clash)} to two names; each needs its own`);
  for (const name of PORT_NAMES) {
    const wanted = options.ports.get(name) ?? (options.json ? undefined : defaultPort(name, options.tls));
    entries.push([name, wanted === undefined ? await freePort() : await claimPort(name, wanted)]);
  }
  return Object.fromEntries(entries) as Record<PortName, number>;
}
