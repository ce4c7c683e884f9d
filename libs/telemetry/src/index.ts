export * from './batch-writer.ts';
export * from './history.ts';
export * from './influx.ts';
export * from './influxql.ts';
export * from './line-protocol.ts';
export * from './stored-samples.ts';
