import { cpSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { defineConfig, type UserConfig } from 'vite';

/** Files that lie beside a bundle because they are read from disk: name in dist to path of the source. */
export type Assets = Readonly<Record<string, string>>;

const resolve = createRequire(import.meta.url).resolve;
const root = import.meta.dirname;

/** What a bundle needs to migrate the database. */
export const migrationAssets: Assets = {
  'schema_engine_bg.wasm': resolve('@prisma/schema-engine-wasm/schema_engine_bg').replace(/\.js$/, '.wasm'),
  migrations: path.join(root, 'libs/database/prisma/migrations'),
};

/** What a bundle needs to show the API's page. */
export const swaggerUiAssets: Assets = Object.fromEntries(
  [
    'swagger-ui.css',
    'swagger-ui-bundle.js',
    'swagger-ui-standalone-preset.js',
    'favicon-16x16.png',
    'favicon-32x32.png',
  ].map((file) => [`swagger-ui/${file}`, resolve(`swagger-ui-dist/${file}`)]),
);

/** Nest asks for these only where an application uses them, and ours do not. */
const OPTIONAL = [
  '@nestjs/websockets',
  '@nestjs/websockets/socket-module.js',
  '@grpc/grpc-js',
  '@grpc/proto-loader',
  '@fastify/static',
  'amqp-connection-manager',
  'amqplib',
  'cache-manager',
  'class-transformer',
  'class-validator',
  'ioredis',
  'kafkajs',
  'nats',
  'pg-native',
];

/**
 * Code with every character beyond ASCII escaped: with a single one of them V8 keeps the whole source, of ten megabytes, with
 * two bytes a character for as long as the process runs. Lines stay as they are for the source map.
 */
function escaped(code: string): string {
  return code.replaceAll(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** One JavaScript file for Node with everything in it, and assets beside: it runs from an empty folder. */
export function nodeApplication(folder: string, assets: Assets = {}): UserConfig {
  return nodeBundle(folder, assets, { main: path.join(folder, 'src/main.ts') });
}

/** Entry points for Node with everything in them, in one folder; what several of them need stands there once. */
export function nodeBundle(folder: string, assets: Assets, entries: Readonly<Record<string, string>>): UserConfig {
  return defineConfig({
    root: folder,
    build: {
      ssr: true,
      outDir: 'dist',
      target: 'node20',
      sourcemap: true,
      minify: false,
      rolldownOptions: {
        input: { ...entries },
        external: OPTIONAL,
        output: {
          entryFileNames: '[name].js',
          chunkFileNames: 'shared-[hash].js',
          codeSplitting: Object.keys(entries).length > 1,
        },
      },
    },
    ssr: { noExternal: true, external: OPTIONAL },
    plugins: [
      {
        name: 'muster-ascii',
        enforce: 'post',
        generateBundle(_, bundle) {
          for (const file of Object.values(bundle)) if (file.type === 'chunk') file.code = escaped(file.code);
        },
      },
      {
        name: 'muster-assets',
        closeBundle() {
          for (const [name, source] of Object.entries(assets)) {
            cpSync(source, path.join(folder, 'dist', name), { recursive: true });
          }
        },
      },
    ],
  });
}
