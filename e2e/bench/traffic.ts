/** Telemetry of many devices at a rate. */
export interface Traffic {
  /** The first level of every topic. */
  readonly topicRoot: string;
  readonly devices: number;
  readonly perSecond: number;
  readonly durationMs: number;
  readonly qos: 0 | 1;
  /** Frames that are made before cost the sender nothing while it is measured; those of ten minutes take no memory if made meanwhile. */
  readonly framesAreMade: 'before' | 'meanwhile';
}

/** How sending went. Times are milliseconds since 1970; a message has the time at which it was due as its device time. */
export interface TrafficReport {
  readonly count: number;
  /** PUBACKs; 0 at QoS 0. */
  readonly acknowledged: number;
  readonly startAtMs: number;
  /** When the broker had the last of it, as far as the socket or its PUBACK tells. */
  readonly endedAtMs: number;
  /** How late a message went out at most. */
  readonly lateMs: number;
}

/** What the process that sends is told: always everything. */
export interface ToPublisher {
  readonly broker: {
    readonly host: string;
    readonly port: number;
    readonly username: string;
    readonly password: string;
  };
  readonly traffic: Traffic;
}

/** What it answers: it is ready, nothing has been sent, and from when on it will; and then, how sending went. */
export type FromPublisher =
  { readonly kind: 'built'; readonly startAtMs: number } | { readonly kind: 'sent'; readonly report: TrafficReport };

/** The id of a device; all have the same length. */
export function benchDevice(index: number): string {
  return `bench-${String(index).padStart(5, '0')}`;
}

/** The topic on which a device reports. */
export function topicOf(topicRoot: string, device: number): string {
  return `${topicRoot}/${benchDevice(device)}/telemetry`;
}

/** Sixty bytes of JSON: two readings, the device's time in milliseconds, and its count, which has eight digits. */
export function payloadOf(index: number, timeMs: number, seq: number): string {
  const temperature = (10 + (index % 8_000) / 100).toFixed(2);
  const humidity = (20 + (index % 6_000) / 100).toFixed(2);
  return `{"temp":${temperature},"hum":${humidity},"ts":${timeMs},"seq":${seq}}`;
}
