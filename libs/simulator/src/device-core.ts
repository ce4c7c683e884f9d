import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';

/** The kinds of device that the firmware knows, in the order of `muster_create` (firmware/wasm/muster_device.h). */
export const NODE_KINDS = ['dht22', 'motion', 'light', 'motion_light'] as const;
/** See {@link NODE_KINDS}. */
export type NodeKind = (typeof NODE_KINDS)[number];

/** Why a connection ended, in the order of `LostReason` (firmware/core/transport.hpp). */
const LOST_REASONS = ['network', 'refused', 'taken-over', 'unreached'] as const;
/** `unreached`: no CONNECT was sent; `refused`: the broker does not know the device. */
export type LostReason = (typeof LOST_REASONS)[number];

const GOODBYES = ['shutdown', 'sleep', 'update'] as const;
/** Why a device is told to leave. */
export type Goodbye = (typeof GOODBYES)[number];

const PHASES = ['off', 'waiting', 'connecting', 'online', 'leaving'] as const;
/** What a device is doing. */
export type DevicePhase = (typeof PHASES)[number];

const RESET_REASONS = ['power', 'software', 'watchdog', 'brownout', 'sleep', 'unknown'] as const;
/** Why a device started; told in its `info`. */
export type ResetReason = (typeof RESET_REASONS)[number];

/** What a connection is made with; the will is retained, QoS 1. */
export interface DeviceConnectOptions {
  readonly clientId: string;
  readonly will: { readonly topic: string; readonly payload: string };
  readonly keepAliveSeconds: number;
  /** 0 starts clean and leaves nothing behind. */
  readonly sessionExpirySeconds: number;
}

/** A message that a device publishes. */
export interface DevicePublication {
  readonly topic: string;
  readonly payload: string;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  /** Message Expiry Interval; 0 is none. */
  readonly expirySeconds: number;
}

/** Temperature and humidity in tenths. */
export interface ClimateTenths {
  readonly temperature: number;
  readonly humidity: number;
}

/**
 * The hardware and the network of one virtual device; each function does what transport.hpp and board.hpp of
 * firmware/core say. None of them may call the device: what comes back is told later.
 */
export interface DeviceHost {
  readonly connect: (options: DeviceConnectOptions) => void;
  /** A token for {@link VirtualBoard.acknowledged}, from 1 on, or 0 when the message cannot be taken now. */
  readonly publish: (publication: DevicePublication) => number;
  readonly subscribe: (filter: string, qos: 0 | 1 | 2) => void;
  /** 0x00, or 0x04: the connection ends with the will. */
  readonly disconnect: (reasonCode: number) => void;
  /** Milliseconds since the device started; wraps at 2^32. */
  readonly millis: () => number;
  /** Undefined without a clock. */
  readonly epochMs: () => number | undefined;
  /** An integer of 32 bits. */
  readonly random: () => number;
  readonly resetReason: () => ResetReason;
  /** Undefined when the sensor does not answer. */
  readonly readClimate: (pin: number) => ClimateTenths | undefined;
  readonly readPin: (pin: number) => boolean;
  readonly writeDuty: (pin: number, percent: number) => void;
  /** Undefined without a battery. */
  readonly batteryMillivolts: () => number | undefined;
  readonly readFlash: (key: string) => Uint8Array | undefined;
  /** False when it could not be written. */
  readonly writeFlash: (key: string, value: Uint8Array) => boolean;
  /** The device is off; it starts again after so many seconds, 0 is never. */
  readonly powerDown: (wakeInSeconds: number) => void;
  readonly restart: () => void;
  readonly log: (line: string) => void;
}

/** What a virtual device is. */
export interface DeviceCoreOptions {
  readonly id: string;
  readonly node: NodeKind;
  /** For nodes whose topics are named after a room. */
  readonly room?: string;
  /** Defaults in the names of the firmware's settings, such as `{ heartbeat: 60 }`. */
  readonly settings?: Readonly<Record<string, number | string>>;
}

/** Why a virtual device cannot be made. */
export class DeviceCoreError extends Error {
  readonly code: 'bad-id' | 'bad-room' | 'bad-settings' | 'no-memory' | 'too-long';

  constructor(code: DeviceCoreError['code'], message: string) {
    super(message);
    this.name = 'DeviceCoreError';
    this.code = code;
  }
}

interface Exports {
  readonly memory: WebAssembly.Memory;
  readonly muster_scratch: () => number;
  readonly muster_scratch_size: () => number;
  readonly muster_device_bytes: () => number;
  readonly muster_create: (node: number, idLength: number, roomLength: number) => number;
  readonly muster_configure: (handle: number, length: number) => number;
  readonly muster_begin: (handle: number) => number;
  readonly muster_tick: (handle: number) => number;
  readonly muster_on_connected: (handle: number) => void;
  readonly muster_on_disconnected: (handle: number, reason: number) => void;
  readonly muster_on_acknowledged: (handle: number, token: number, reasonCode: number) => void;
  readonly muster_on_message: (handle: number, topic: number, payload: number, isRetained: number) => void;
  readonly muster_shutdown: (handle: number, reason: number, wakeInSeconds: number) => void;
  readonly muster_phase: (handle: number) => number;
  readonly muster_destroy: (handle: number) => void;
}

const NAME = 'muster-device.wasm';

/** It lies beside a bundle, or in the source. */
function coreFile(): string {
  const beside = path.join(import.meta.dirname, NAME);
  return existsSync(beside) ? beside : path.join(import.meta.dirname, '../../../firmware/wasm', NAME);
}

/** `UINT32_MAX`: it wants nothing any more until something happens. */
const NEVER = 0xffff_ffff;

function qosOf(value: number): 0 | 1 | 2 {
  return value === 0 ? 0 : value === 1 ? 1 : 2;
}

/** The firmware's core in WebAssembly: one instance holds any number of devices. */
export class DeviceCore {
  readonly #exports: Exports;
  readonly #hosts: Map<number, DeviceHost>;
  readonly #encoder = new TextEncoder();
  readonly #scratch: number;
  readonly #scratchBytes: number;

  private constructor(exports: Exports, hosts: Map<number, DeviceHost>) {
    this.#exports = exports;
    this.#hosts = hosts;
    this.#scratch = exports.muster_scratch();
    this.#scratchBytes = exports.muster_scratch_size();
  }

  /** An instance of the committed `firmware/wasm/muster-device.wasm`, or of other bytes. */
  static async load(bytes?: Uint8Array): Promise<DeviceCore> {
    const hosts = new Map<number, DeviceHost>();
    const memory: { current?: WebAssembly.Memory } = {};
    const source = bytes ?? (await readFile(coreFile()));
    const { instance } = await WebAssembly.instantiate(source, { host: importsOf(hosts, memory) });
    const exports = instance.exports as Exports;
    memory.current = exports.memory;
    return new DeviceCore(exports, hosts);
  }

  /** Memory of one device in bytes. */
  get bytesPerDevice(): number {
    return this.#exports.muster_device_bytes();
  }

  /** Memory of the whole instance in bytes. */
  get memoryBytes(): number {
    return this.#exports.memory.buffer.byteLength;
  }

  /**
   * A device that has power: it reads its flash, and connects at its first tick.
   * @throws DeviceCoreError
   */
  create(options: DeviceCoreOptions, host: DeviceHost): VirtualBoard {
    const lengths = this.#write(options.id, options.room ?? '');
    const handle = this.#exports.muster_create(NODE_KINDS.indexOf(options.node), lengths[0] ?? 0, lengths[1] ?? 0);
    if (handle === 0) throw new DeviceCoreError('no-memory', 'the memory of WebAssembly cannot grow any more');
    this.#hosts.set(handle, host);
    const board = new VirtualBoard(
      this.#exports,
      handle,
      (...texts) => this.#write(...texts),
      () => {
        this.#hosts.delete(handle);
      },
    );
    try {
      board.start(options);
    } catch (error) {
      board.destroy();
      throw error;
    }
    return board;
  }

  /** Writes texts one behind the other into the scratch buffer; answers their lengths in bytes. */
  #write(...texts: readonly (string | Uint8Array)[]): readonly number[] {
    const parts = texts.map((text) => (typeof text === 'string' ? this.#encoder.encode(text) : text));
    const total = parts.reduce((sum, part) => sum + part.length, 0);
    if (total > this.#scratchBytes) {
      throw new DeviceCoreError('too-long', `${total} bytes; a device takes at most ${this.#scratchBytes} at once`);
    }
    const target = new Uint8Array(this.#exports.memory.buffer, this.#scratch, total);
    let at = 0;
    for (const part of parts) {
      target.set(part, at);
      at += part.length;
    }
    return parts.map((part) => part.length);
  }
}

type WriteTexts = (...texts: readonly (string | Uint8Array)[]) => readonly number[];

/** One device in the core's memory. After each event it is to be ticked, and again when the time is up that `tick` says. */
export class VirtualBoard {
  readonly #exports: Exports;
  readonly #handle: number;
  readonly #write: WriteTexts;
  readonly #forget: () => void;
  #isDestroyed = false;

  /** Made by {@link DeviceCore.create} alone. */
  constructor(exports: Exports, handle: number, write: WriteTexts, forget: () => void) {
    this.#exports = exports;
    this.#handle = handle;
    this.#write = write;
    this.#forget = forget;
  }

  /** @throws DeviceCoreError */
  start({ id, room, settings }: DeviceCoreOptions): void {
    const [length = 0] = this.#write(JSON.stringify(settings ?? {}));
    const faults = [this.#exports.muster_configure(this.#handle, length), this.#exports.muster_begin(this.#handle)];
    const fault = faults.find((found) => found !== 0);
    if (fault === undefined) return;
    if (fault === 1) throw new DeviceCoreError('bad-id', `not a device id: ${JSON.stringify(id)}`);
    if (fault === 2) throw new DeviceCoreError('bad-room', `not the name of a room: ${JSON.stringify(room ?? '')}`);
    throw new DeviceCoreError('bad-settings', `not settings of a device: ${JSON.stringify(settings)}`);
  }

  get phase(): DevicePhase {
    return PHASES[this.#exports.muster_phase(this.#handle)] ?? 'off';
  }

  /** Does what is due; answers in how many milliseconds it wants to be called again at the latest. */
  tick(): number {
    // A 32-bit integer of WebAssembly is signed for JavaScript.
    const waitMs = this.#exports.muster_tick(this.#handle) >>> 0;
    return waitMs === NEVER ? Number.POSITIVE_INFINITY : waitMs;
  }

  /** CONNACK has come. */
  connected(): void {
    this.#exports.muster_on_connected(this.#handle);
  }

  disconnected(reason: LostReason): void {
    this.#exports.muster_on_disconnected(this.#handle, LOST_REASONS.indexOf(reason));
  }

  /** PUBACK, or PUBCOMP at QoS 2, with its reason code. */
  acknowledged(token: number, reasonCode = 0): void {
    this.#exports.muster_on_acknowledged(this.#handle, token, reasonCode);
  }

  /** A payload that is too long for the device is left out, as on a board. */
  message(topic: string, payload: Uint8Array | string, retained: boolean): void {
    const size = typeof payload === 'string' ? Buffer.byteLength(payload) : payload.length;
    if (Buffer.byteLength(topic) + size > this.#exports.muster_scratch_size()) return;
    const [topicLength = 0, payloadLength = 0] = this.#write(topic, payload);
    this.#exports.muster_on_message(this.#handle, topicLength, payloadLength, retained ? 1 : 0);
  }

  /** Leaves in order; it is over when the host's `powerDown` is called. */
  shutdown(reason: Goodbye, wakeInSeconds = 0): void {
    this.#exports.muster_shutdown(this.#handle, GOODBYES.indexOf(reason), wakeInSeconds);
  }

  /** Loses power: nothing is sent. */
  destroy(): void {
    if (this.#isDestroyed) return;
    this.#isDestroyed = true;
    this.#exports.muster_destroy(this.#handle);
    this.#forget();
  }
}

/** What the core asks for: each call goes to the host of its handle. */
function importsOf(
  hosts: ReadonlyMap<number, DeviceHost>,
  memory: { readonly current?: WebAssembly.Memory },
): WebAssembly.Imports[string] {
  const decoder = new TextDecoder();
  const hostOf = (handle: number): DeviceHost => {
    const host = hosts.get(handle);
    if (host === undefined) throw new Error(`no device has the handle ${handle}`);
    return host;
  };
  const bytes = (address: number, length: number): Uint8Array => {
    if (memory.current === undefined) throw new Error('the core was called before it was loaded');
    return new Uint8Array(memory.current.buffer, address, length);
  };
  const text = (address: number, length: number): string => decoder.decode(bytes(address, length));
  return {
    connect: (handle, id, idLength, topic, topicLength, will, willLength, keepAliveSeconds, sessionExpirySeconds) =>
      hostOf(handle).connect({
        clientId: text(id, idLength),
        will: { topic: text(topic, topicLength), payload: text(will, willLength) },
        keepAliveSeconds,
        sessionExpirySeconds,
      }),
    publish: (handle, topic, topicLength, payload, payloadLength, qos, isRetained, expirySeconds) =>
      hostOf(handle).publish({
        topic: text(topic, topicLength),
        payload: text(payload, payloadLength),
        qos: qosOf(qos),
        retain: isRetained !== 0,
        expirySeconds,
      }),
    subscribe: (handle: number, filter: number, length: number, qos: number) =>
      hostOf(handle).subscribe(text(filter, length), qosOf(qos)),
    disconnect: (handle: number, reasonCode: number) => hostOf(handle).disconnect(reasonCode),
    millis: (handle: number) => hostOf(handle).millis(),
    epoch_ms: (handle: number) => hostOf(handle).epochMs() ?? 0,
    random: (handle: number) => hostOf(handle).random(),
    reset_reason: (handle: number) => RESET_REASONS.indexOf(hostOf(handle).resetReason()),
    read_climate: (handle: number, pin: number, address: number) => {
      const climate = hostOf(handle).readClimate(pin);
      if (climate === undefined) return 0;
      const target = bytes(address, 8);
      const view = new DataView(target.buffer, target.byteOffset);
      view.setInt32(0, climate.temperature, true);
      view.setInt32(4, climate.humidity, true);
      return 1;
    },
    // Whoever moves a virtual pin ticks the device.
    watch_pin: () => 1,
    read_pin: (handle: number, pin: number) => (hostOf(handle).readPin(pin) ? 1 : 0),
    write_duty: (handle: number, pin: number, percent: number) => hostOf(handle).writeDuty(pin, percent),
    battery_millivolts: (handle: number) => hostOf(handle).batteryMillivolts() ?? -1,
    read_flash: (handle: number, key: number, keyLength: number, address: number, capacity: number) => {
      const value = hostOf(handle).readFlash(text(key, keyLength))?.subarray(0, capacity);
      if (value === undefined) return 0;
      bytes(address, value.length).set(value);
      return value.length;
    },
    write_flash: (handle: number, key: number, keyLength: number, address: number, size: number) =>
      hostOf(handle).writeFlash(text(key, keyLength), bytes(address, size).slice()) ? 1 : 0,
    power_down: (handle: number, wakeInSeconds: number) => hostOf(handle).powerDown(wakeInSeconds),
    restart: (handle: number) => hostOf(handle).restart(),
    log: (handle: number, line: number, length: number) => hostOf(handle).log(text(line, length)),
  };
}
