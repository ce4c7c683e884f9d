import { createHash } from 'node:crypto';
import type { ClearedMessage, DecommissionReport, DeviceId, RetainedMessage } from '@muster/contract';
import type { ReceivedMessage } from '@muster/broker';

/** What was found and done on one broker. */
export interface BrokerProof {
  readonly broker: string;
  /** Whether the device's session was ended. */
  readonly session: boolean;
  readonly before: readonly RetainedMessage[];
  readonly cleared: readonly ClearedMessage[];
  readonly after: readonly RetainedMessage[];
  readonly kept: readonly SharedTopic[];
  /** Why it is not known whether the broker is clean; undefined when the verification ran. */
  readonly fault: string | undefined;
}

/** Another device that owns a topic too. */
export interface SharedTopic {
  readonly topic: string;
  readonly owner: string;
}

/** A retained message as the report shows it: its size and hash, never its payload. */
export function retainedMessage(message: ReceivedMessage): RetainedMessage {
  return {
    broker: message.broker,
    topic: message.topic,
    bytes: message.payload.length,
    sha256: createHash('sha256').update(message.payload).digest('hex'),
  };
}

/** Retained messages that are the device's alone, and so are to be cleared; and those that others own as well. */
export function split<Message extends { readonly topic: string }>(
  messages: readonly Message[],
  others: readonly SharedTopic[],
): { readonly own: readonly Message[]; readonly kept: readonly SharedTopic[] } {
  const owners = new Map(others.map((shared) => [shared.topic, shared]));
  return {
    own: messages.filter(({ topic }) => !owners.has(topic)),
    kept: messages.flatMap(({ topic }) => owners.get(topic) ?? []),
  };
}

/** The report: verified only when no broker lets the device in, and each was asked again and holds nothing of it. */
export function decommissionReport(input: {
  readonly device: DeviceId;
  readonly requestedAt: Date;
  readonly now: Date;
  readonly services: readonly DecommissionReport['services'][number][];
  readonly account: DecommissionReport['account'];
  readonly filters: readonly string[];
  readonly proofs: readonly BrokerProof[];
}): DecommissionReport {
  const { proofs, account, services } = input;
  const after = proofs.flatMap((proof) => proof.after);
  const faults = proofs.flatMap(({ broker, fault }) => (fault === undefined ? [] : [`${broker}: ${fault}`]));
  const behind = account.brokers.filter(({ applied }) => !applied).map(({ broker }) => broker);
  const deaf = services.filter(({ applied }) => !applied).map(({ service }) => service);
  const verified =
    proofs.length > 0 && faults.length === 0 && after.length === 0 && behind.length === 0 && deaf.length === 0;
  return {
    device: input.device,
    state: verified ? 'verified' : 'incomplete',
    requestedAt: input.requestedAt.toISOString(),
    verifiedAt: verified ? input.now.toISOString() : null,
    brokers: proofs.map(({ broker }) => broker),
    account,
    services: [...services],
    sessions: proofs.filter(({ session }) => session).map(({ broker }) => broker),
    filters: [...input.filters],
    before: proofs.flatMap((proof) => proof.before),
    cleared: proofs.flatMap((proof) => proof.cleared),
    after,
    kept: uniqueByTopic(proofs.flatMap((proof) => proof.kept)),
    notDone: [
      ...deaf.map((service) => `${service}: does not refuse its messages yet; nothing is cleared before it does`),
      ...faults,
      ...behind.map((broker) => `${broker}: its agent has not taken the account away yet`),
      ...(account.state === 'external'
        ? ['account: these brokers have their accounts elsewhere; take it away there']
        : []),
    ],
  };
}

function uniqueByTopic(shared: readonly SharedTopic[]): SharedTopic[] {
  return [...new Map(shared.map((entry) => [entry.topic, entry])).values()];
}
