import { createRequire } from 'node:module';
import path from 'node:path';
import { migrationAssets, nodeBundle, swaggerUiAssets } from './vite.node.ts';

const root = import.meta.dirname;
/** What the image can run, by the name that is its argument. */
const APPS = ['agent', 'alerting', 'automation', 'cli', 'ingestion', 'presence', 'registry'];

/** All apps for the container image: single bundles (vite.node.ts) would each repeat what they share. */
export default nodeBundle(
  root,
  {
    ...migrationAssets,
    ...swaggerUiAssets,
    'openapi.json': path.join(root, 'apps/registry/openapi.json'),
    console: path.join(root, 'apps/console/dist'),
    'main.js': path.join(root, 'docker/main.js'),
    'starter-rules.yaml': path.join(root, 'apps/alerting/starter-rules.yaml'),
  },
  {
    // In chunks the order of modules is another one than in a single file, and decorators need it before anything else.
    metadata: createRequire(import.meta.url).resolve('reflect-metadata'),
    ...Object.fromEntries(APPS.map((app) => [app, path.join(root, 'apps', app, 'src/main.ts')])),
  },
);
