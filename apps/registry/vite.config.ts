import path from 'node:path';
import { nodeApplication, swaggerUiAssets } from '../../vite.node.ts';

export default nodeApplication(import.meta.dirname, {
  ...swaggerUiAssets,
  console: path.join(import.meta.dirname, '../console/dist'),
});
