export * from './virtual-device.ts';
