export * from './account-store.ts';
export * from './acl-file.ts';
export * from './advisor/index.ts';
export * from './certificates.ts';
export * from './managed-broker/managed-broker.ts';
export * from './password-file.ts';
export * from './token.ts';
