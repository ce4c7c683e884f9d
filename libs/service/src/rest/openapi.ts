import { applyDecorators, type Provider, type Type } from '@nestjs/common';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { ApiResponse, DocumentBuilder, SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import { problemSchema } from '@muster/contract';
import { z } from 'zod';
import { createMetrics } from '../health.ts';
import { createLogger } from '../logger.ts';
import { createApplication } from '../run-service.ts';

const PROBLEMS: Readonly<Record<number, string>> = {
  401: 'No token, or one that is unknown, revoked or expired',
  403: 'The token does not allow this',
  404: 'There is no such thing',
  409: 'Not in the state that it is in',
  413: 'The request is larger than what is taken at a time',
  415: 'The request is in a form that is not read',
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
function openApiDocument(application: NestExpressApplication): OpenAPIObject {
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

/** The OpenAPI document of a service's controllers as text; none of their providers is made. */
export async function describeApi(
  service: string,
  controllers: readonly Type[],
  tokens: readonly Type[],
): Promise<string> {
  const context = { configuration: {}, logger: createLogger(service, 'error'), metrics: createMetrics(service) };
  const providers: readonly Provider[] = tokens.map((token) => ({ provide: token, useValue: undefined }));
  const application = await createApplication(context, { controllers, providers, readiness: [] });
  const document = openApiDocument(application);
  await application.close();
  return `${JSON.stringify(document, undefined, 2)}\n`;
}
