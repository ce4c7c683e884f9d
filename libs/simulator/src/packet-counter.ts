/** The control packets of MQTT by their number (MQTT 5, section 2.1.2). */
const NAMES = [
  'reserved',
  'connect',
  'connack',
  'publish',
  'puback',
  'pubrec',
  'pubrel',
  'pubcomp',
  'subscribe',
  'suback',
  'unsubscribe',
  'unsuback',
  'pingreq',
  'pingresp',
  'disconnect',
  'auth',
] as const;

/** The name of a control packet. */
export type PacketName = (typeof NAMES)[number];

/** How many packets of each kind have passed, and their bytes, headers included. */
export interface PacketCounts {
  readonly bytes: number;
  readonly packets: Readonly<Partial<Record<PacketName, { readonly count: number; readonly bytes: number }>>>;
}

interface Frame {
  /** Bytes of the packet that are still to come; undefined while its length is not known. */
  left: number | undefined;
  name: PacketName;
  length: number;
  shift: number;
  header: number;
}

/** Counts the MQTT packets of byte streams by their fixed headers; what they say is not looked at. */
export class PacketCounter {
  readonly #frames = new WeakMap<object, Frame>();
  readonly #packets = new Map<PacketName, { count: number; bytes: number }>();
  #bytes = 0;

  get counts(): PacketCounts {
    return {
      bytes: this.#bytes,
      packets: Object.fromEntries([...this.#packets].map(([name, counted]) => [name, { ...counted }])),
    };
  }

  /** Takes the next bytes of a stream. */
  take(stream: object, bytes: Uint8Array): void {
    this.#bytes += bytes.length;
    let at = 0;
    while (at < bytes.length) {
      let frame = this.#frames.get(stream);
      if (frame === undefined) {
        frame = { left: undefined, name: NAMES[(bytes[at] ?? 0) >> 4] ?? 'reserved', length: 0, shift: 0, header: 1 };
        this.#frames.set(stream, frame);
        at += 1;
        continue;
      }
      if (frame.left === undefined) {
        const byte = bytes[at] ?? 0;
        at += 1;
        frame.header += 1;
        frame.length += (byte & 0x7f) * 2 ** frame.shift;
        frame.shift += 7;
        if (byte < 0x80) frame.left = frame.length;
      } else {
        const taken = Math.min(frame.left, bytes.length - at);
        frame.left -= taken;
        at += taken;
      }
      if (frame.left === 0) {
        this.#count(frame);
        this.#frames.delete(stream);
      }
    }
  }

  #count({ name, length, header }: Frame): void {
    const counted = this.#packets.get(name) ?? { count: 0, bytes: 0 };
    counted.count += 1;
    counted.bytes += header + length;
    this.#packets.set(name, counted);
  }
}
