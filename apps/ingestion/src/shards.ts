/**
 * The brokers that one of several ingestion processes consumes: those whose place in the list leaves its ordinal when it
 * is divided by the number of processes. Every broker has exactly one consumer, and none changes hands while the number
 * stays.
 */
export function brokersOf<Broker>(brokers: readonly Broker[], ordinal: number, replicas: number): readonly Broker[] {
  return brokers.filter((_, index) => index % replicas === ordinal);
}
