import path from 'node:path';
import { nodeApplication } from '../../vite.node.ts';

export default nodeApplication(import.meta.dirname, {
  'starter-rules.yaml': path.join(import.meta.dirname, 'starter-rules.yaml'),
});
