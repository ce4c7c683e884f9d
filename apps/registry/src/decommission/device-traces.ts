import { createHash } from 'node:crypto';
import type { DeviceId, RetainedMessage } from '@muster/contract';
import { sweepRetained, type BrokerTarget } from '@muster/broker';
import type { SharedTopic } from './decommission-report.ts';
import { FilterIndex } from './filter-index.ts';

const BROKER_TIMEOUT_MS = 5_000;

/** Where traces of a device are looked for, and what of them belongs to others as well. */
export interface TraceScope {
  readonly device: DeviceId;
  readonly filters: readonly string[];
  /** Devices in service that own a topic, by the topic; among them may be this one. */
  readonly owners: ReadonlyMap<string, readonly string[]>;
}

/** What a broker holds of some devices. */
export interface Traces {
  /** The device's alone, and so to be cleared. */
  readonly own: ReadonlyMap<DeviceId, readonly RetainedMessage[]>;
  /** Others own it as well. */
  readonly kept: ReadonlyMap<DeviceId, readonly SharedTopic[]>;
}

/**
 * What a broker holds of some devices, read over a fresh connection; of messages only size and hash are kept.
 * @throws BrokerError
 */
export async function findTraces(broker: BrokerTarget, scopes: readonly TraceScope[]): Promise<Traces> {
  const owners = new FilterIndex(scopes);
  const byDevice = new Map(scopes.map((scope) => [scope.device, scope]));
  const own = new Map<DeviceId, Map<string, RetainedMessage>>();
  const kept = new Map<DeviceId, Map<string, SharedTopic>>();
  const filters = [...new Set(scopes.flatMap((scope) => scope.filters))];
  await sweepRetained(
    broker,
    filters,
    ({ topic, payload }) => {
      for (const device of owners.of(topic)) {
        const owner = byDevice
          .get(device)
          ?.owners.get(topic)
          ?.find((one) => one !== device);
        if (owner === undefined) put(own, device, topic, retainedMessage(broker.name, topic, payload));
        else put(kept, device, topic, { topic, owner });
      }
    },
    BROKER_TIMEOUT_MS,
  );
  return { own: listed(own), kept: listed(kept) };
}

function put<Value>(all: Map<DeviceId, Map<string, Value>>, device: DeviceId, topic: string, value: Value): void {
  const known = all.get(device);
  if (known === undefined) all.set(device, new Map([[topic, value]]));
  else known.set(topic, value);
}

function listed<Value>(
  all: ReadonlyMap<DeviceId, ReadonlyMap<string, Value>>,
): ReadonlyMap<DeviceId, readonly Value[]> {
  return new Map([...all].map(([device, values]) => [device, [...values.values()]]));
}

/** A retained message as reports show it: its size and hash, never its payload. */
function retainedMessage(broker: string, topic: string, payload: Uint8Array): RetainedMessage {
  return { broker, topic, bytes: payload.length, sha256: createHash('sha256').update(payload).digest('hex') };
}
