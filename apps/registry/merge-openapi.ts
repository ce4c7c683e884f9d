import { execFileSync } from 'node:child_process';
import path from 'node:path';

/** Prints the OpenAPI document of the front door: the resources of all services in one. */
interface OpenApiDocument {
  readonly paths: Readonly<Record<string, unknown>>;
  readonly components: { readonly schemas: Readonly<Record<string, unknown>> };
}

/** The registry first: title, description and security are its own. */
const SERVICES = ['registry', 'automation', 'alerting'];

function documentOf(service: string): OpenApiDocument {
  const main = path.join(import.meta.dirname, '..', service, 'dist/main.js');
  return JSON.parse(execFileSync(process.execPath, [main, '--print-openapi'], { encoding: 'utf8' })) as OpenApiDocument;
}

/** What stands under a name in several documents must be the same there. */
function merge(kind: string, parts: readonly Readonly<Record<string, unknown>>[]): Record<string, unknown> {
  const merged: Record<string, unknown> = {};
  for (const [name, value] of parts.flatMap((part) => Object.entries(part))) {
    if (name in merged && JSON.stringify(merged[name]) !== JSON.stringify(value))
      throw new Error(`two services have another ${kind} under the name ${name}`);
    merged[name] = value;
  }
  return merged;
}

const documents = SERVICES.map(documentOf);
const [front] = documents;
const merged = {
  ...front,
  paths: merge(
    'path',
    documents.map(({ paths }) => paths),
  ),
  components: {
    ...front?.components,
    schemas: merge(
      'schema',
      documents.map(({ components }) => components.schemas),
    ),
  },
};
process.stdout.write(`${JSON.stringify(merged, undefined, 2)}\n`);
