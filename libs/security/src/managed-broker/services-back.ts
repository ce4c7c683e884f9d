import { setTimeout as delay } from 'node:timers/promises';
import { BrokerConnection, type BrokerTarget } from '@muster/broker';
import { z } from 'zod';
import type { ServiceName } from '../acl-file.ts';

const serviceStatusSchema = z.object({ status: z.literal('online'), timestamp: z.number() });
const TOPIC_PREFIX = 'muster/services/';
const POLL_MS = 50;

/**
 * When a service said that it is online, in milliseconds since 1970; undefined for anything else, such as its will or
 * what earlier versions said without a time.
 */
export function bornAtMs(payload: Uint8Array): number | undefined {
  try {
    const parsed = serviceStatusSchema.safeParse(JSON.parse(Buffer.from(payload).toString('utf8')));
    return parsed.success ? parsed.data.timestamp : undefined;
  } catch {
    // No JSON, so no birth.
    return undefined;
  }
}

/** Whose return is waited for, and how long. */
export interface ServicesBackOptions {
  /** The broker, with an account that may read `muster/services/+`. */
  readonly broker: BrokerTarget;
  readonly expected: readonly ServiceName[];
  /** Births from before do not count, in milliseconds since 1970. */
  readonly sinceMs: number;
  readonly waitMs: number;
  /** Ends the waiting. */
  readonly signal: AbortSignal;
}

/** Waits until services have connected to a broker since it was started; answers those that have not. */
export async function servicesBack(options: ServicesBackOptions): Promise<readonly ServiceName[]> {
  const { broker, expected, sinceMs, waitMs, signal } = options;
  const missing = new Set<ServiceName>(expected);
  const connection = new BrokerConnection({
    broker,
    clientId: `muster-agent-${broker.name}`,
    sessionExpirySeconds: 0,
    subscriptions: [{ filter: `${TOPIC_PREFIX}+`, qos: 0 }],
    onMessage: ({ topic, payload }, settle) => {
      const service = expected.find((name) => topic === `${TOPIC_PREFIX}${name}`);
      if (service !== undefined && (bornAtMs(payload) ?? 0) >= sinceMs) missing.delete(service);
      settle('acknowledge');
    },
  });
  try {
    const deadline = Date.now() + waitMs;
    while (missing.size > 0 && Date.now() < deadline && !signal.aborted) await delay(POLL_MS);
    return [...missing];
  } finally {
    await connection.close(0);
  }
}
