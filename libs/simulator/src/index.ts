export * from './fault-line.ts';
export * from './nodes.ts';
export * from './packet-counter.ts';
export * from './virtual-device.ts';
