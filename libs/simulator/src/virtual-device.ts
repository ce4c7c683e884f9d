import type { BrokerTarget } from '@muster/broker';
import type { DeviceId } from '@muster/contract';
import type {
  DeviceCore,
  DeviceHost,
  DevicePhase,
  DevicePublication,
  Goodbye,
  LostReason,
  NodeKind,
  ResetReason,
  VirtualBoard,
} from './device-core.ts';
import { DeviceLink, type MqttVersion } from './device-link.ts';
import type { Surroundings } from './surroundings.ts';
import type { Cancel, VirtualTime } from './virtual-time.ts';

/** What a virtual device is. */
export interface VirtualDeviceOptions {
  readonly id: DeviceId;
  readonly node: NodeKind;
  /** For nodes whose topics are named after a room. */
  readonly room?: string;
  /** The firmware's own settings, such as `{ heartbeat: 60 }`. */
  readonly settings?: Readonly<Record<string, number | string>>;
  readonly broker: BrokerTarget;
  /** 5 where it is left out. */
  readonly version?: MqttVersion;
  readonly core: DeviceCore;
  readonly time: VirtualTime;
  readonly surroundings: Pick<Surroundings, 'chance' | 'climateAt' | 'batteryMillivoltsAt' | 'motionLastsMs'>;
  /** Told what goes out, and when it is acknowledged. */
  readonly observer?: DeviceObserver;
}

/** Who looks at what a device sends; a token is a publication's within its connection. */
export interface DeviceObserver {
  readonly onPublished: (publication: DevicePublication, token: number) => void;
  readonly onAcknowledged: (token: number) => void;
}

/** GPIO of the motion sensor (firmware/nodes/motion.hpp). */
const MOTION_PIN = 13;
const RESTART_MS = 1_000;
const GOODBYE_LIMIT_MS = 10_000;

/** The number of the last session as flash has it: seconds since 1970 at first, so that it grows also without a file. */
function firstFlash(): Map<string, Uint8Array> {
  const session = Buffer.alloc(8);
  session.writeBigUInt64LE(BigInt(Math.floor(Date.now() / 1_000)));
  return new Map([['session', session]]);
}

/** A board with the firmware's core on it, in virtual surroundings, at a real broker. */
export class VirtualDevice {
  readonly id: DeviceId;
  readonly #options: VirtualDeviceOptions;
  readonly #flash = firstFlash();
  #board: VirtualBoard | undefined;
  #link: DeviceLink | undefined;
  #cancelTick: Cancel = () => undefined;
  #cancelBoot: Cancel = () => undefined;
  #cancelMotion: Cancel = () => undefined;
  #bootedAtMs = 0;
  #clockOffsetMs = 0;
  #isMoving = false;
  #wakeInSeconds: number | undefined;
  #restarts = false;
  #onOff: () => void = () => undefined;

  constructor(options: VirtualDeviceOptions) {
    this.id = options.id;
    this.#options = options;
  }

  /** What the firmware is doing; `off` without power. */
  get phase(): DevicePhase {
    return this.#board?.phase ?? 'off';
  }

  /** Whether it has gone to sleep and will wake by itself. */
  get isAsleep(): boolean {
    return this.#board === undefined && (this.#wakeInSeconds ?? 0) > 0;
  }

  /** Gives it power. @throws DeviceCoreError */
  start(resetReason: ResetReason = 'power'): void {
    if (this.#board !== undefined) return;
    this.#cancelBoot();
    const { core, id, node, room, settings, time } = this.#options;
    this.#bootedAtMs = time.nowMs;
    this.#wakeInSeconds = undefined;
    this.#restarts = false;
    this.#board = core.create(
      { id, node, ...(room === undefined ? {} : { room }), ...(settings === undefined ? {} : { settings }) },
      this.#host(resetReason),
    );
    if (node === 'motion' || node === 'motion_light') this.#someoneComesOrGoes();
    this.#run();
  }

  /** Leaves in order: goodbye with its reason, acknowledged, then DISCONNECT. Resolves when it is off. */
  async stop(reason: Goodbye): Promise<void> {
    this.#cancelBoot();
    if (this.#board === undefined) return;
    const off = new Promise<void>((resolve) => (this.#onOff = resolve));
    this.#event((board) => board.shutdown(reason));
    const limit = setTimeout(() => this.crash(), GOODBYE_LIMIT_MS);
    await off;
    clearTimeout(limit);
    this.#cancelBoot();
  }

  /** Loses power: the connection ends without a word, and the broker publishes the will. */
  crash(): void {
    this.#cancelBoot();
    const link = this.#link;
    this.#powerOff();
    link?.leave(false);
  }

  /** Loses the network for a moment; the firmware connects again. */
  cutNetwork(): void {
    this.#link?.cut();
  }

  /** Neither the device nor the broker hears anything of the other any more. */
  goHalfOpen(): void {
    this.#link?.freeze();
  }

  /** Sets its clock forward, or back. */
  jumpClock(byMs: number): void {
    this.#clockOffsetMs += byMs;
  }

  #run(): void {
    const board = this.#board;
    if (board === undefined) return;
    this.#cancelTick();
    const waitMs = board.tick();
    if (board.phase === 'off') {
      this.#powerOff();
      return;
    }
    if (Number.isFinite(waitMs)) this.#cancelTick = this.#options.time.after(Math.max(1, waitMs), () => this.#run());
  }

  #event(tell: (board: VirtualBoard) => void): void {
    if (this.#board === undefined) return;
    tell(this.#board);
    this.#run();
  }

  #powerOff(): void {
    this.#cancelTick();
    this.#cancelMotion();
    this.#board?.destroy();
    this.#board = undefined;
    this.#link = undefined;
    const waitMs = this.#restarts ? RESTART_MS : (this.#wakeInSeconds ?? 0) * 1_000;
    const reason = this.#restarts ? 'software' : 'sleep';
    if (waitMs > 0) this.#cancelBoot = this.#options.time.after(waitMs, () => this.start(reason));
    this.#onOff();
  }

  #someoneComesOrGoes(): void {
    const { time, surroundings } = this.#options;
    this.#cancelMotion = time.after(surroundings.motionLastsMs(this.#isMoving), () => {
      this.#isMoving = !this.#isMoving;
      this.#run();
      if (this.#board !== undefined) this.#someoneComesOrGoes();
    });
  }

  #host(resetReason: ResetReason): DeviceHost {
    const { broker, time, surroundings, observer } = this.#options;
    return {
      connect: (options) => {
        this.#link?.leave(false);
        const link = new DeviceLink(broker, this.#options.version ?? '5', options, {
          onConnected: () => this.#event((board) => board.connected()),
          onLost: (reason: LostReason) => {
            if (this.#link === link) this.#link = undefined;
            this.#event((board) => board.disconnected(reason));
          },
          onAcknowledged: (token, code) => {
            observer?.onAcknowledged(token);
            this.#event((board) => board.acknowledged(token, code));
          },
          onMessage: (topic, payload, retained) => this.#event((board) => board.message(topic, payload, retained)),
        });
        this.#link = link;
      },
      publish: (publication) => {
        const token = this.#link?.publish(publication) ?? 0;
        if (token !== 0) observer?.onPublished(publication, token);
        return token;
      },
      subscribe: (filter, qos) => this.#link?.subscribe(filter, qos),
      disconnect: (reasonCode) => {
        this.#link?.leave(reasonCode === 0);
        this.#link = undefined;
      },
      millis: () => Math.floor(time.nowMs - this.#bootedAtMs) >>> 0,
      epochMs: () => Math.floor(time.nowMs + this.#clockOffsetMs),
      random: () => surroundings.chance.integer(),
      resetReason: () => resetReason,
      readClimate: () => surroundings.climateAt(time.nowMs),
      readPin: (pin) => pin === MOTION_PIN && this.#isMoving,
      writeDuty: () => undefined,
      batteryMillivolts: () =>
        this.#options.node === 'dht22' ? surroundings.batteryMillivoltsAt(time.nowMs) : undefined,
      readFlash: (key) => this.#flash.get(key),
      writeFlash: (key, value) => {
        this.#flash.set(key, value);
        return true;
      },
      powerDown: (wakeInSeconds) => (this.#wakeInSeconds = wakeInSeconds),
      restart: () => (this.#restarts = true),
      log: () => undefined,
    };
  }
}
