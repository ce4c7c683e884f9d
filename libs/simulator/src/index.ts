export * from './nodes.ts';
export * from './virtual-device.ts';
