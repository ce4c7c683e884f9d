import type { DeviceId } from '@muster/contract';
import { BrokerConnection, readRetained, type BrokerTarget } from '@muster/broker';
import { isReservedDeviceId } from '@muster/security';
import { retainedMessage, split, type BrokerProof, type SharedTopic } from './retained-proof.ts';

const BROKER_TIMEOUT_MS = 5_000;

/** Where traces of a device are looked for, and what of them belongs to others as well. */
export interface TraceScope {
  readonly device: DeviceId;
  readonly filters: readonly string[];
  readonly others: readonly SharedTopic[];
}

/** What a broker holds of a device; nothing is changed. */
export async function findTraces(
  broker: BrokerTarget,
  { filters, others }: TraceScope,
): Promise<Pick<BrokerProof, 'broker' | 'before' | 'kept' | 'fault'>> {
  try {
    const { own, kept } = split(await readRetained(broker, filters, BROKER_TIMEOUT_MS), others);
    return { broker: broker.name, before: own.map(retainedMessage), kept, fault: undefined };
  } catch (error) {
    return { broker: broker.name, before: [], kept: [], fault: messageOf(error) };
  }
}

/**
 * Ends a device's session on a broker, clears every retained message of it, and looks again over a fresh connection (the
 * end of the order of mqtt-pitfalls R13). What has gone wrong is in the proof, with all that was done before.
 */
export async function clearTraces(
  broker: BrokerTarget,
  { device, filters, others }: TraceScope,
  onFault: (error: unknown) => void,
): Promise<BrokerProof> {
  const before: BrokerProof['before'][number][] = [];
  const cleared: BrokerProof['cleared'][number][] = [];
  let session = false;
  try {
    session = await endSession(device, broker);
    const { own, kept } = split(await readRetained(broker, filters, BROKER_TIMEOUT_MS), others);
    const found = own.map(retainedMessage);
    before.push(...found);
    if (found.length > 0) await clear(broker, found, (message) => cleared.push(message));
    const after = split(await readRetained(broker, filters, BROKER_TIMEOUT_MS), others).own.map(retainedMessage);
    return { broker: broker.name, session, before, cleared, after, kept, fault: undefined };
  } catch (error) {
    onFault(error);
    return { broker: broker.name, session, before, cleared, after: [], kept: [], fault: messageOf(error) };
  }
}

async function clear(
  broker: BrokerTarget,
  found: BrokerProof['before'],
  onCleared: (message: BrokerProof['cleared'][number]) => void,
): Promise<void> {
  const clientId = `muster-clear-${crypto.randomUUID()}`;
  const connection = new BrokerConnection({ broker, clientId, sessionExpirySeconds: 0 });
  try {
    await connection.whenReady(BROKER_TIMEOUT_MS);
    for (const message of found) {
      const reasonCode = await connection.publish(message.topic, '', {
        ...{ qos: 1, retain: true, withinMs: BROKER_TIMEOUT_MS },
      });
      onCleared({ ...message, clearedAt: new Date().toISOString(), reasonCode });
    }
  } finally {
    await connection.close(0);
  }
}

/** Takes the device's place and leaves: what was queued for it would else reach whoever gets its id (mqtt-pitfalls R9). */
async function endSession(device: DeviceId, broker: BrokerTarget): Promise<boolean> {
  if (isReservedDeviceId(device)) return false;
  const connection = new BrokerConnection({ broker, clientId: device, sessionExpirySeconds: 0 });
  try {
    await connection.whenReady(BROKER_TIMEOUT_MS);
    return true;
  } finally {
    await connection.close(0);
  }
}

function messageOf(error: unknown): string {
  return `not verified: ${error instanceof Error ? error.message : String(error)}`;
}
