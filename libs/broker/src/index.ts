export * from './acknowledgement-queue.ts';
export * from './broker-connection.ts';
export * from './broker-target.ts';
export * from './connection-options.ts';
export * from './device-transport.ts';
export * from './digest-follower.ts';
export * from './reconnect-delay.ts';
export * from './retained-sweep.ts';
export { whenConnected, whenEachWasTried } from './waiting.ts';
