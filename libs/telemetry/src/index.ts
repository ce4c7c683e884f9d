export * from './history.ts';
export * from './influx.ts';
export * from './influxql.ts';
export * from './line-protocol.ts';
export * from './spool-error.ts';
export * from './spool.ts';
export * from './stored-samples.ts';
export * from './telemetry-writer.ts';
