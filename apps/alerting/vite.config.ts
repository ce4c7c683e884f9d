import { nodeApplication } from '../../vite.node.ts';

export default nodeApplication(import.meta.dirname);
