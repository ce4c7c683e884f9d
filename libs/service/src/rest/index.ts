export * from './access.ts';
export * from './openapi.ts';
