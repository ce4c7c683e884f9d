import path from 'node:path';
import { migrationAssets, nodeApplication } from '../../vite.node.ts';

export default nodeApplication(import.meta.dirname, {
  ...migrationAssets,
  'muster-device.wasm': path.join(import.meta.dirname, '../../firmware/wasm/muster-device.wasm'),
  'motion-light.yaml': path.join(import.meta.dirname, '../../docs/examples/motion-light.yaml'),
});
