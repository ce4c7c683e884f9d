export * from './advice.ts';
export * from './advisor-error.ts';
export * from './advisor.ts';
export * from './configuration.ts';
export type { ServerCertificate } from './mended-configuration.ts';
