import { defineConfig } from 'vitest/config';
import { useFolderOfRun } from './vitest.folder.ts';

useFolderOfRun();

/** `npm run e2e:kubernetes`: the chart on a real cluster, in the order in which an operator meets it. */
export default defineConfig({
  test: {
    name: 'kubernetes',
    include: ['e2e/kubernetes/*.kubernetes.spec.ts'],
    reporters: ['default', './vitest.reporter.ts'],
    fileParallelism: false,
    bail: 3,
    testTimeout: 60_000,
    hookTimeout: 400_000,
  },
});
