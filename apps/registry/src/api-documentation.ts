import path from 'node:path';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { applyDecorators } from '@nestjs/common';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { ApiResponse, DocumentBuilder, SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import { problemSchema } from '@muster/contract';
import { z } from 'zod';

const PROBLEMS: Readonly<Record<number, string>> = {
  401: 'No token, or one that is unknown, revoked or expired',
  403: 'The token does not allow this',
  404: 'There is no such thing',
  409: 'Not in the state that it is in',
  422: 'The request does not keep to its schema; nothing was done',
};

/** Documents the errors that an operation answers as application/problem+json. */
export function ApiProblem(...statuses: readonly number[]): MethodDecorator {
  return applyDecorators(
    ...statuses.map((status) =>
      ApiResponse({
        status,
        description: PROBLEMS[status] ?? 'An error',
        content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
      }),
    ),
  );
}

/** A zod schema as JSON Schema. One that has an id is a reference to its definition, which is among the components. */
function jsonSchema(
  schema: unknown,
  io: 'input' | 'output',
): { schema: unknown; components: Record<string, unknown> } | undefined {
  if (!(schema instanceof z.ZodType)) return undefined;
  const {
    $defs = {},
    $schema: _,
    ...own
  } = z.toJSONSchema(schema, { target: 'draft-2020-12', io, unrepresentable: 'any' }) as Record<string, unknown> & {
    $defs?: Record<string, unknown>;
  };
  return { schema: own, components: $defs };
}

/** The OpenAPI 3.1 document of the application's REST resources, from their zod schemas. */
export function openApiDocument(application: NestExpressApplication): OpenAPIObject {
  const configuration = new DocumentBuilder()
    .setOpenAPIVersion('3.1.0')
    .setTitle('Muster')
    .setDescription(
      'Fleet monitor for MQTT devices: devices, presence with its reason, decommissioning with its proof.',
    )
    .setVersion('1')
    .addBearerAuth({ type: 'http', scheme: 'bearer', description: 'A token of the API' }, 'token')
    .addSecurityRequirements('token')
    .build();
  const document = SwaggerModule.createDocument(application, configuration, {
    standardSchemaConverter: (schema, { schemaType }) => jsonSchema(schema, schemaType),
    operationIdFactory: (_controller, method) => method,
  });
  const paths = Object.fromEntries(Object.entries(document.paths).filter(([route]) => route.startsWith('/api/')));
  const problem = jsonSchema(problemSchema, 'output');
  return {
    ...document,
    paths,
    components: {
      ...document.components,
      schemas: {
        ...document.components?.schemas,
        ...(problem?.components as NonNullable<OpenAPIObject['components']>['schemas']),
      },
    },
  };
}

/** Serves the document at /api/v1/openapi.json and its page at /docs. */
export function serveDocumentation(application: NestExpressApplication): void {
  const beside = path.join(import.meta.dirname, 'swagger-ui');
  SwaggerModule.setup('docs', application, openApiDocument(application), {
    jsonDocumentUrl: 'api/v1/openapi.json',
    raw: ['json'],
    customSiteTitle: 'Muster API',
    customSwaggerUiPath: existsSync(beside)
      ? beside
      : path.dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json')),
  });
}
