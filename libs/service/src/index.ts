export * from './configuration.ts';
export * from './health.ts';
export * from './logger.ts';
export * from './problem-filter.ts';
export * from './run-service.ts';
export * from './yaml-source.ts';
