export * from './device-core.ts';
export * from './fault-line.ts';
export * from './fleet.ts';
export * from './packet-counter.ts';
export * from './surroundings.ts';
export * from './virtual-device.ts';
export * from './virtual-time.ts';
