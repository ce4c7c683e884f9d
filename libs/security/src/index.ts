export * from './advisor/index.ts';
