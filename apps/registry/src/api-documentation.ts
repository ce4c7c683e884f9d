import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';

/** A file of the page, beside the bundle; from the sources where there is no bundle. */
function assetPath(name: string, source: () => string): string {
  const beside = path.join(import.meta.dirname, name);
  return existsSync(beside) ? beside : source();
}

/** The OpenAPI document of all services. */
export function wholeApi(): OpenAPIObject {
  const file = assetPath('openapi.json', () => path.join(import.meta.dirname, '../openapi.json'));
  return JSON.parse(readFileSync(file, 'utf8')) as OpenAPIObject;
}

/** Serves the document of all services at /api/v1/openapi.json and its page at /docs. */
export function serveDocumentation(application: NestExpressApplication, api: OpenAPIObject): void {
  SwaggerModule.setup('docs', application, api, {
    jsonDocumentUrl: 'api/v1/openapi.json',
    raw: ['json'],
    customSiteTitle: 'Muster API',
    customSwaggerUiPath: assetPath('swagger-ui', () =>
      path.dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json')),
    ),
  });
}
