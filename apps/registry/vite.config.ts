import path from 'node:path';
import { nodeApplication, swaggerUiAssets } from '../../vite.node.ts';

export default nodeApplication(import.meta.dirname, {
  ...swaggerUiAssets,
  'openapi.json': path.join(import.meta.dirname, 'openapi.json'),
  console: path.join(import.meta.dirname, '../console/dist'),
});
