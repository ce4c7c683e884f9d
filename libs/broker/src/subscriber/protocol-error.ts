/** What is wrong with what a broker sent. */
export type ProtocolErrorCode =
  'malformed-packet' | 'protocol-error' | 'receive-maximum-exceeded' | 'packet-too-large' | 'qos-not-supported';

/** Reason codes of DISCONNECT (MQTT 5, section 3.14.2.1). */
const REASON_CODES: Readonly<Record<ProtocolErrorCode, number>> = {
  'malformed-packet': 0x81,
  'protocol-error': 0x82,
  'receive-maximum-exceeded': 0x93,
  'packet-too-large': 0x95,
  'qos-not-supported': 0x9b,
};

/** A broker broke the protocol: the connection is ended, with {@link reasonCode} in its DISCONNECT (section 4.13). */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';

  constructor(
    readonly code: ProtocolErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  get reasonCode(): number {
    return REASON_CODES[this.code];
  }
}
