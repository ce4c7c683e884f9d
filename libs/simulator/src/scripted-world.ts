import {
  type ClimateTenths,
  type DeviceConnectOptions,
  type DeviceCore,
  type DeviceHost,
  type DevicePublication,
  type Goodbye,
  type LostReason,
  type NodeKind,
  type VirtualBoard,
} from './device-core.ts';

type Network = 'up' | 'down' | 'silent';

/** What happens to a device at a time of a script. */
export type ScriptStep = { readonly atMs: number } & (
  | { readonly do: 'network'; readonly to: Network }
  | { readonly do: 'message'; readonly topic: string; readonly payload: string; readonly retained?: boolean }
  | { readonly do: 'clock'; readonly epochMs: number }
  | { readonly do: 'pin'; readonly pin: number; readonly high: boolean }
  | { readonly do: 'battery'; readonly millivolts: number }
  | { readonly do: 'power-cut' }
  | { readonly do: 'power-on' }
  | { readonly do: 'shutdown'; readonly reason: Goodbye; readonly wakeInSeconds?: number }
);

/** From `fromMs` on: up in `riseMs` and down again in the rest of each period, in tenths; or a sensor that fails. */
export type ClimateSegment = { readonly fromMs: number } & (
  | { readonly fails: true }
  | {
      readonly fails?: false;
      readonly riseMs: number;
      readonly periodMs: number;
      readonly temp: readonly [low: number, high: number];
      readonly hum: readonly [low: number, high: number];
    }
);

/** A file of firmware/scripts. */
export interface Script {
  readonly device: { readonly id: string; readonly node: NodeKind; readonly room?: string };
  readonly settings?: Readonly<Record<string, number | string>>;
  readonly seed?: number;
  /** Milliseconds since 1970 at the beginning; 0 without a clock. */
  readonly clockMs?: number;
  readonly millisAtBoot?: number;
  readonly batteryMillivolts?: number;
  readonly endMs: number;
  readonly climate?: readonly ClimateSegment[];
  readonly steps?: readonly ScriptStep[];
}

type WorldEvent =
  | { readonly kind: 'boot' }
  | { readonly kind: 'step'; readonly step: ScriptStep }
  | { readonly kind: 'connected' }
  | { readonly kind: 'acknowledged'; readonly token: number }
  | { readonly kind: 'lost'; readonly reason: LostReason };

interface Scheduled {
  readonly atMs: number;
  /** Of the connection it belongs to; what is left of an older one is void. */
  readonly connection: number;
  readonly event: WorldEvent;
}

const CONNECT_MS = 20;
const UNREACHED_MS = 10;
const ACKNOWLEDGE_MS = 30;
const RESTART_MS = 1000;

/** A board, a network and a broker in virtual time: the twin of firmware/native/world.cpp. */
export class ScriptedWorld {
  /** A line for everything that was sent, with its time. */
  readonly trace: string[] = [];
  readonly #core: DeviceCore;
  readonly #script: Script;
  readonly #flash = new Map<string, Uint8Array>();
  readonly #pins = new Set<number>();
  #events: Scheduled[] = [];
  #board: VirtualBoard | undefined;
  #nowMs = 0;
  #dueMs = Number.POSITIVE_INFINITY;
  #bootedAtMs = 0;
  #clockMs: number;
  #clockSetAtMs = 0;
  #connection = 0;
  #isConnected = false;
  #network: Network = 'up';
  #random: number;
  #lastToken = 0;
  #batteryMillivolts: number | undefined;

  /** @param climateAt what the sensor finds, instead of what the script says */
  constructor(
    core: DeviceCore,
    script: Script,
    private readonly climateAt?: (nowMs: number) => ClimateTenths,
  ) {
    this.#core = core;
    this.#script = script;
    this.#clockMs = script.clockMs ?? 0;
    this.#random = script.seed ?? 1;
    this.#batteryMillivolts = script.batteryMillivolts;
    this.#schedule(0, { kind: 'boot' });
    for (const step of script.steps ?? []) this.#schedule(step.atMs, { kind: 'step', step });
  }

  /** Plays the script to its end. */
  run(): void {
    while (this.#next());
    this.#cutPower();
  }

  /** Events of one time in the order in which they were scheduled, and all before the device's own tick. */
  #next(): boolean {
    const [first] = this.#events.toSorted((a, b) => a.atMs - b.atMs);
    const dueMs = this.#board === undefined ? Number.POSITIVE_INFINITY : this.#dueMs;
    if (first !== undefined && first.atMs <= dueMs) {
      if (first.atMs > this.#script.endMs) return false;
      this.#events = this.#events.filter((event) => event !== first);
      this.#nowMs = first.atMs;
      this.#happen(first.event, first.connection);
      return true;
    }
    if (this.#board === undefined || dueMs > this.#script.endMs) return false;
    this.#nowMs = dueMs;
    this.#dueMs = Number.POSITIVE_INFINITY;
    const waitMs = this.#board.tick();
    if (this.#board.phase === 'off') this.#cutPower();
    else this.#dueMs = Math.min(this.#dueMs, this.#nowMs + Math.max(waitMs, 1));
    return true;
  }

  #schedule(inMs: number, event: WorldEvent): void {
    this.#events.push({ atMs: this.#nowMs + inMs, connection: this.#connection, event });
  }

  #happen(event: WorldEvent, connection: number): void {
    if (event.kind === 'boot') this.#powerOn();
    else if (event.kind === 'step') this.#play(event.step);
    else if (connection === this.#connection && this.#board !== undefined) this.#tell(this.#board, event);
  }

  #tell(board: VirtualBoard, event: Exclude<WorldEvent, { readonly kind: 'boot' | 'step' }>): void {
    this.#dueMs = this.#nowMs;
    switch (event.kind) {
      case 'connected':
        this.#isConnected = true;
        board.connected();
        break;
      case 'acknowledged':
        board.acknowledged(event.token);
        break;
      case 'lost':
        this.#isConnected = false;
        this.#connection += 1;
        board.disconnected(event.reason);
        break;
    }
  }

  #play(step: ScriptStep): void {
    switch (step.do) {
      case 'network':
        this.#network = step.to;
        if (step.to === 'down' && this.#isConnected) this.#schedule(0, { kind: 'lost', reason: 'network' });
        break;
      case 'message':
        if (!this.#isConnected) break;
        this.#say(`message ${step.topic}${step.retained === true ? ' retained' : ''} ${step.payload}`);
        this.#dueMs = this.#nowMs;
        this.#board?.message(step.topic, step.payload, step.retained === true);
        break;
      case 'clock':
        this.#clockMs = step.epochMs;
        this.#clockSetAtMs = this.#nowMs;
        break;
      case 'pin':
        if (step.high) this.#pins.add(step.pin);
        else this.#pins.delete(step.pin);
        this.#dueMs = this.#nowMs;
        break;
      case 'battery':
        this.#batteryMillivolts = step.millivolts;
        break;
      case 'power-cut':
        this.#cutPower();
        break;
      case 'power-on':
        this.#powerOn();
        break;
      case 'shutdown':
        this.#dueMs = this.#nowMs;
        this.#board?.shutdown(step.reason, step.wakeInSeconds);
        break;
    }
  }

  #powerOn(): void {
    if (this.#board !== undefined) return;
    this.#bootedAtMs = this.#nowMs;
    this.#say('boot');
    const { device, settings = {} } = this.#script;
    this.#board = this.#core.create({ ...device, settings }, this.#host());
    this.#dueMs = this.#nowMs;
  }

  #cutPower(): void {
    this.#connection += 1;
    this.#isConnected = false;
    this.#board?.destroy();
    this.#board = undefined;
  }

  #say(line: string): void {
    this.trace.push(`${this.#nowMs} ${line}`);
  }

  #host(): DeviceHost {
    return {
      connect: (options) => this.#connect(options),
      publish: (publication) => this.#publish(publication),
      subscribe: (filter, qos) => this.#say(`subscribe ${filter} qos=${qos}`),
      disconnect: (reasonCode) => {
        this.#isConnected = false;
        this.#connection += 1;
        this.#say(`disconnect 0x${reasonCode.toString(16).padStart(2, '0')}`);
      },
      millis: () => this.#nowMs - this.#bootedAtMs + (this.#script.millisAtBoot ?? 0),
      epochMs: () => (this.#clockMs === 0 ? undefined : this.#clockMs + this.#nowMs - this.#clockSetAtMs),
      random: () => this.#nextRandom(),
      resetReason: () => 'power',
      readClimate: () => this.climateAt?.(this.#nowMs) ?? this.#climate(),
      readPin: (pin) => this.#pins.has(pin),
      writeDuty: (pin, percent) => this.#say(`duty ${pin} ${percent}`),
      batteryMillivolts: () => this.#batteryMillivolts,
      readFlash: (key) => this.#flash.get(key),
      writeFlash: (key, value) => {
        this.#flash.set(key, value);
        return true;
      },
      powerDown: (wakeInSeconds) => {
        this.#say(`power-down ${wakeInSeconds}`);
        this.#dueMs = this.#nowMs;
        if (wakeInSeconds > 0) this.#schedule(wakeInSeconds * 1000, { kind: 'boot' });
      },
      restart: () => {
        this.#say('restart');
        this.#dueMs = this.#nowMs;
        this.#schedule(RESTART_MS, { kind: 'boot' });
      },
      log: () => undefined,
    };
  }

  #connect({ clientId, will, keepAliveSeconds, sessionExpirySeconds }: DeviceConnectOptions): void {
    this.#connection += 1;
    this.#lastToken = 0;
    this.#say(
      `connect ${clientId} keep-alive=${keepAliveSeconds} session-expiry=${sessionExpirySeconds} will=${will.topic} ${will.payload}`,
    );
    if (this.#network === 'up') this.#schedule(CONNECT_MS, { kind: 'connected' });
    if (this.#network === 'down') this.#schedule(UNREACHED_MS, { kind: 'lost', reason: 'unreached' });
  }

  #publish({ topic, payload, qos, retain, expirySeconds }: DevicePublication): number {
    const marks = `${retain ? ' retained' : ''}${expirySeconds > 0 ? ` expiry=${expirySeconds}` : ''}`;
    this.#say(`publish ${topic} qos=${qos}${marks} ${payload}`);
    this.#lastToken += 1;
    if (this.#network === 'up' && qos > 0) {
      this.#schedule(ACKNOWLEDGE_MS, { kind: 'acknowledged', token: this.#lastToken });
    }
    return this.#lastToken;
  }

  /** xorshift32 (Marsaglia, "Xorshift RNGs", 2003). */
  #nextRandom(): number {
    let value = this.#random;
    value ^= value << 13;
    value ^= value >>> 17;
    value ^= value << 5;
    this.#random = value >>> 0;
    return this.#random;
  }

  #climate(): ClimateTenths | undefined {
    const segment = (this.#script.climate ?? []).findLast(({ fromMs }) => fromMs <= this.#nowMs);
    if (segment === undefined || segment.fails === true) return undefined;
    const phaseMs = (this.#nowMs - segment.fromMs) % segment.periodMs;
    const waveAt = ([low, high]: readonly [number, number]): number =>
      low +
      Math.trunc(
        phaseMs < segment.riseMs
          ? ((high - low) * phaseMs) / segment.riseMs
          : ((high - low) * (segment.periodMs - phaseMs)) / (segment.periodMs - segment.riseMs),
      );
    return { temperature: waveAt(segment.temp), humidity: waveAt(segment.hum) };
  }
}
