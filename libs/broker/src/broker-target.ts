/** One broker of the cluster, and the account to use there. */
export interface BrokerTarget {
  /** The broker's name in evidence, metrics and client ids: `mosquitto-0`. */
  readonly name: string;
  /** `mqtt://host:port` or `mqtts://host:port`. */
  readonly url: string;
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** The certificates, as PEM, of the authorities that may vouch for the broker; those of the system otherwise. */
  readonly ca?: string | undefined;
}

/** What the user of a connection is told about it; the wording of logs is the user's. */
export type ConnectionEvent =
  | { readonly kind: 'connected'; readonly broker: string; readonly sessionPresent: boolean }
  | { readonly kind: 'disconnected'; readonly broker: string; readonly retryInMs: number }
  | { readonly kind: 'failed'; readonly broker: string; readonly error: Error }
  | { readonly kind: 'dropped'; readonly broker: string; readonly topic: string };

/** Why something on a broker did not work. */
export type BrokerErrorCode =
  | 'unreachable'
  | 'connection-refused'
  | 'subscription-refused'
  | 'publish-refused'
  | 'no-answer'
  | 'disconnected'
  | 'taken-over'
  | 'closed';

/** The error of this library; `code` is stable. */
export class BrokerError extends Error {
  override readonly name = 'BrokerError';

  constructor(
    readonly code: BrokerErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
