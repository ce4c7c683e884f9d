import 'reflect-metadata';
import type { IncomingMessage } from 'node:http';
import { Module, StandardSchemaValidationPipe, type DynamicModule, type Provider, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { Registry } from 'prom-client';
import { readConfiguration, type ConfigurationSchema, type ServiceConfiguration } from './configuration.ts';
import { createMetrics, HealthController, METRICS, READINESS, type ReadinessCheck } from './health.ts';
import { createLogger, nestLogger, type Logger } from './logger.ts';
import { ProblemError, ProblemFilter } from './problem-filter.ts';

/** Injection token of the service's logger. */
export const LOGGER = Symbol('logger');
const SHUTDOWN_LIMIT_MS = 20_000;
const MAX_BODY = '256kb';
const JSON_TYPE = /^application\/json *(?:;|$)/i;

/** What a service has before its parts are made. */
export interface ServiceContext<Configuration> {
  readonly configuration: Configuration;
  readonly logger: Logger;
  readonly metrics: Registry;
}

/** What a service is made of. */
export interface ServiceParts {
  readonly providers?: readonly Provider[];
  readonly controllers?: readonly Type[];
  readonly readiness: readonly ReadinessCheck[];
  /** Paths whose requests are left as they come: their operations read them, which is after it is known who asks. */
  readonly unreadBodies?: readonly string[];
  /** Called with the application before it listens: transports, static files, documentation. */
  readonly configure?: (application: NestExpressApplication) => Promise<void> | void;
  /** Called when the application listens. */
  readonly start?: (application: NestExpressApplication) => Promise<void>;
  /** Called in order at the end, after requests and device transports are done. */
  readonly stop?: readonly (() => unknown)[];
}

@Module({})
class ServiceModule {}

function moduleOf(context: ServiceContext<unknown>, parts: ServiceParts): DynamicModule {
  return {
    module: ServiceModule,
    controllers: [HealthController, ...(parts.controllers ?? [])],
    providers: [
      { provide: LOGGER, useValue: context.logger },
      { provide: METRICS, useValue: context.metrics },
      { provide: READINESS, useValue: parts.readiness },
      ...(parts.providers ?? []),
    ],
  };
}

/** The Nest application of a service, not yet listening. */
export async function createApplication(
  context: ServiceContext<unknown>,
  parts: ServiceParts,
): Promise<NestExpressApplication> {
  const application = await NestFactory.create<NestExpressApplication>(moduleOf(context, parts), {
    logger: nestLogger(context.logger),
    bodyParser: false,
  });
  const isUnread = ({ url = '' }: IncomingMessage): boolean =>
    parts.unreadBodies?.includes(
      url
        .replace(/[?#].*$/s, '')
        .replace(/\/+$/, '')
        .toLowerCase(),
    ) === true;
  application.useBodyParser('json', {
    limit: MAX_BODY,
    type: (request) => JSON_TYPE.test(request.headers['content-type'] ?? '') && !isUnread(request),
  });
  application.disable('x-powered-by');
  application.useGlobalFilters(new ProblemFilter(context.logger));
  application.useGlobalPipes(
    new StandardSchemaValidationPipe({
      exceptionFactory: (issues) =>
        new ProblemError(
          422,
          issues.map(({ message }) => message).join('; '),
          issues.map(({ path = [], message }) => ({
            path: path.map((segment) => String(typeof segment === 'object' ? segment.key : segment)).join('.'),
            message,
          })),
        ),
    }),
  );
  return application;
}

/**
 * Runs a service until SIGTERM or SIGINT: configuration from the environment, health, metrics and its parts. A fault at
 * the start is one line of log and exit code 1.
 */
export async function runService<Configuration extends ServiceConfiguration>(
  name: string,
  schema: ConfigurationSchema<Configuration>,
  assemble: (context: ServiceContext<Configuration>) => Promise<ServiceParts> | ServiceParts,
): Promise<void> {
  let logger = createLogger(name, 'info');
  try {
    const configuration = readConfiguration(schema, process.env);
    logger = createLogger(name, configuration.MUSTER_LOG_LEVEL);
    const context = { configuration, logger, metrics: createMetrics(name) };
    const parts = await assemble(context);
    const application = await createApplication(context, parts);
    stopOnSignal(application, parts, logger);
    await parts.configure?.(application);
    await application.listen(configuration.MUSTER_HTTP_PORT, configuration.MUSTER_HTTP_HOST);
    logger.info({ host: configuration.MUSTER_HTTP_HOST, port: configuration.MUSTER_HTTP_PORT }, 'listening');
    await parts.start?.(application);
  } catch (error) {
    logger.fatal(
      error instanceof Error ? { code: (error as { code?: unknown }).code } : {},
      error instanceof Error ? error.message : String(error),
    );
    process.exit(1);
  }
}

function stopOnSignal(application: NestExpressApplication, parts: ServiceParts, logger: Logger): void {
  let stopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping) return;
    stopping = true;
    logger.info({ signal }, 'stopping');
    setTimeout(() => {
      logger.error({ limitMs: SHUTDOWN_LIMIT_MS }, 'did not stop in time');
      process.exit(1);
    }, SHUTDOWN_LIMIT_MS).unref();
    void (async () => {
      let exitCode = 0;
      for (const step of [() => application.close(), ...(parts.stop ?? [])]) {
        try {
          await step();
        } catch (error) {
          exitCode = 1;
          logger.error({ err: error }, 'a part did not stop in order');
        }
      }
      logger.info('stopped');
      process.exit(exitCode);
    })();
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}
