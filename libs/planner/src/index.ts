export * from './calculator.ts';
export * from './calculators.ts';
export { connectedLife, type ConnectedDevice } from './battery.ts';
export * from './publish-advice.ts';
