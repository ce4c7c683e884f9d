export { Prisma, PrismaClient } from './client/client.ts';
export * from './channel.ts';
export * from './data-error.ts';
export * from './database.ts';
export * from './discover.ts';
export * from './fleet-feed.ts';
export * from './migrations.ts';
export * from './tombstones.ts';
