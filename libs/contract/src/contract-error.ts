/** Why an id, a topic, a topic map or a payload does not keep to the contract. */
export type ContractErrorCode =
  | 'invalid-device-id'
  | 'invalid-topic'
  | 'invalid-pattern'
  | 'invalid-topic-map'
  | 'payload-too-large'
  | 'payload-empty'
  | 'invalid-utf8'
  | 'invalid-json'
  | 'not-a-number'
  | 'not-finite'
  | 'not-a-boolean'
  | 'not-a-text'
  | 'invalid-status'
  | 'invalid-info'
  | 'invalid-ack'
  | 'invalid-digest'
  | 'not-a-light-command'
  | 'invalid-search';

/** The only error that this library throws; `code` is stable and may be used as a metric label. */
export class ContractError extends Error {
  override readonly name = 'ContractError';

  constructor(
    readonly code: ContractErrorCode,
    message: string,
  ) {
    super(message);
  }
}
