export * from './history.ts';
export * from './influx.ts';
export * from './line-protocol.ts';
export * from './spool-error.ts';
export * from './spool.ts';
export * from './telemetry-writer.ts';
