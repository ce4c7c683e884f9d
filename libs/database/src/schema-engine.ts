import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { PrismaPg } from '@prisma/adapter-pg';
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils';
import { Pool } from 'pg';
import * as engine from '@prisma/schema-engine-wasm/schema_engine_bg';

/** The engine's file; it lies beside the bundle, and in its package when run from source. */
function wasmFile(): string {
  const beside = path.join(import.meta.dirname, 'schema_engine_bg.wasm');
  if (existsSync(beside)) return beside;
  return createRequire(import.meta.url)
    .resolve('@prisma/schema-engine-wasm/schema_engine_bg')
    .replace(/\.js$/, '.wasm');
}

let initialized = false;

/** A schema engine, and how to let its connections go: they hold its lock on the database. */
export interface OpenSchemaEngine {
  readonly engine: engine.SchemaEngine;
  readonly close: () => Promise<void>;
}

/** PrismaPg cuts a script at every semicolon, also in the body of a function: PostgreSQL takes it whole, or none of it. */
function takingScriptsWhole(pool: Pool): PrismaPg {
  const factory = new PrismaPg(pool);
  const connect = factory.connect.bind(factory);
  factory.connect = async () => {
    const adapter = await connect();
    adapter.executeScript = async (sql) => {
      await adapter.executeRaw({ sql, args: [], argTypes: [] });
    };
    return adapter;
  };
  return factory;
}

/**
 * Prisma's schema engine, as WebAssembly and so without a download, bound to a database. `schema` is the text of the
 * data model by file name; migrations alone need none, but the engine wants one file that names the provider.
 */
export async function openSchemaEngine(
  url: string,
  schema: readonly (readonly [name: string, text: string])[] = [
    ['schema.prisma', 'datasource db {\n  provider = "postgresql"\n}\n'],
  ],
): Promise<OpenSchemaEngine> {
  if (!initialized) {
    const module = new WebAssembly.Module(readFileSync(wasmFile()));
    const names = new Set(WebAssembly.Module.imports(module).map((imported) => imported.module));
    const bindings = engine as unknown as WebAssembly.ModuleImports & {
      __wbg_set_wasm(exports: WebAssembly.Exports): void;
    };
    const instance = new WebAssembly.Instance(module, Object.fromEntries([...names].map((name) => [name, bindings])));
    bindings.__wbg_set_wasm(instance.exports);
    const start = instance.exports['__wbindgen_start'];
    if (typeof start === 'function') (start as () => void)();
    initialized = true;
  }
  const pool = new Pool({ connectionString: url, max: 2 });
  // An idle connection that is lost is no fault of a statement; the event alone would end the process.
  pool.on('error', () => undefined);
  const opened = await engine.SchemaEngine.new(
    { datamodels: schema.map(([name, text]): [string, string] => [name, text]) },
    () => undefined,
    bindMigrationAwareSqlAdapterFactory(takingScriptsWhole(pool)),
  );
  return { engine: opened, close: () => pool.end() };
}
