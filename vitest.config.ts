import { defineConfig } from 'vitest/config';
import { useFolderOfRun } from './vitest.folder.ts';

useFolderOfRun();

export default defineConfig({
  test: {
    reporters: ['default', './vitest.reporter.ts'],
    maxWorkers: 2,
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{apps,libs}/*/src/**/*.spec.ts', 'e2e/**/*.spec.ts', '*.spec.ts'],
          exclude: ['**/*.integration.spec.ts', '**/*.e2e.spec.ts', '**/*.kubernetes.spec.ts', '**/node_modules/**'],
          // Property tests compute, and the machine may be busy.
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'integration',
          include: ['{apps,libs}/*/src/**/*.integration.spec.ts', 'e2e/**/*.integration.spec.ts'],
          globalSetup: ['./e2e/programs.setup.ts', './e2e/engines.setup.ts'],
          // They share one broker and one PostgreSQL: services of two files would take each other's sessions.
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
          testTimeout: 30_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['e2e/**/*.e2e.spec.ts'],
          globalSetup: ['./e2e/programs.setup.ts', './e2e/docker.setup.ts'],
          testTimeout: 60_000,
          hookTimeout: 180_000,
          // Each file runs a whole system, which waits most of the time: for limits, for brokers, for the next look.
          maxWorkers: 2,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
