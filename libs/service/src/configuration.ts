import { readFileSync } from 'node:fs';
import { TopicMap, defaultTopicMap } from '@muster/contract';
import type { BrokerTarget } from '@muster/broker';
import type { InfluxTarget } from '@muster/telemetry';
import { z } from 'zod';
import { YamlSource } from './yaml-source.ts';

/** A service was not told what it needs to know; the message names each variable, what was expected, what was found. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
  readonly code = 'configuration';
}

const port = z.coerce.number().int().min(0).max(65_535);
const secret = z.string().min(1).meta({ secret: true });

/** What every service is told. */
export const serviceVariables = {
  MUSTER_HTTP_HOST: z.string().min(1).default('127.0.0.1'),
  MUSTER_HTTP_PORT: port.default(8080),
  MUSTER_TRUST_PROXY: z.stringbool().default(false).describe('whether a proxy in front says how it was called'),
  MUSTER_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error']).default('info'),
  MUSTER_TOPIC_MAP: z.string().min(1).optional().describe('path of a YAML file'),
};

/** What every service is told, read. */
export type ServiceConfiguration = Values<typeof serviceVariables>;

/** Where PostgreSQL is. */
export const postgresVariables = {
  MUSTER_POSTGRES_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\//, 'expected postgresql://user:password@host:port/database')
    .meta({ secret: true }),
};

/** How long what is over can be looked up. */
export const retentionVariables = {
  MUSTER_RETENTION_DAYS: z.coerce
    .number()
    .int()
    .min(7)
    .max(3_650)
    .default(90)
    .describe('after how many days transitions, alerts that are over and deliveries are removed'),
};

/** Where the brokers are, and the account of the service there. */
export const brokerVariables = {
  MUSTER_BROKERS: z.string().transform((text, context): readonly { name: string; url: string }[] => {
    const brokers = text
      .split(',')
      .map((part) => /^([a-z0-9][a-z0-9-]{0,62})=(mqtts?:\/\/[^\s/@]+:\d+)$/.exec(part.trim()));
    const names = brokers.map((match) => match?.[1]);
    if (brokers.includes(null) || new Set(names).size !== names.length) {
      context.addIssue({
        code: 'custom',
        message: 'expected NAME=mqtt://HOST:PORT or NAME=mqtts://HOST:PORT, separated by commas, each name once',
      });
      return z.NEVER;
    }
    return brokers.map((match) => ({ name: match?.[1] ?? '', url: match?.[2] ?? '' }));
  }),
  MUSTER_BROKER_USERNAME: z.string().min(1).optional(),
  MUSTER_BROKER_PASSWORD: secret.optional().meta({ secret: true }),
  MUSTER_BROKER_CA: z.string().min(1).optional().describe('path of the certificates of authorities, as PEM'),
};

/** Where InfluxDB is. */
export const influxVariables = {
  MUSTER_INFLUXDB_URL: z.url({ protocol: /^https?$/ }),
  MUSTER_INFLUXDB_DATABASE: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/)
    .default('muster'),
  MUSTER_INFLUXDB_USERNAME: z.string().min(1),
  MUSTER_INFLUXDB_PASSWORD: secret,
};

type Values<Shape extends z.ZodRawShape> = z.infer<z.ZodObject<Shape>>;

/**
 * The brokers as libs/broker takes them.
 * @throws ConfigurationError when the file of MUSTER_BROKER_CA cannot be read
 */
export function brokerTargets(values: Values<typeof brokerVariables>): readonly BrokerTarget[] {
  const ca = values.MUSTER_BROKER_CA === undefined ? undefined : readAuthorities(values.MUSTER_BROKER_CA);
  return values.MUSTER_BROKERS.map(({ name, url }) => ({
    name,
    url,
    username: values.MUSTER_BROKER_USERNAME,
    password: values.MUSTER_BROKER_PASSWORD,
    ca,
  }));
}

function readAuthorities(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigurationError(
      `MUSTER_BROKER_CA: ${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
}

/** InfluxDB as libs/telemetry takes it. */
export function influxTarget(values: Values<typeof influxVariables>): InfluxTarget {
  return {
    url: values.MUSTER_INFLUXDB_URL,
    database: values.MUSTER_INFLUXDB_DATABASE,
    username: values.MUSTER_INFLUXDB_USERNAME,
    password: values.MUSTER_INFLUXDB_PASSWORD,
  };
}

/** A schema whose keys are names of environment variables. */
export type ConfigurationSchema<Configuration> = z.ZodType<Configuration> & { readonly shape: z.ZodRawShape };

/**
 * The configuration of a service, from the environment by its schema. A secret's value is never part of an error.
 * @throws ConfigurationError
 */
export function readConfiguration<Configuration>(
  schema: ConfigurationSchema<Configuration>,
  environment: Readonly<Record<string, string | undefined>>,
): Configuration {
  const parsed = schema.safeParse(environment);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => {
    const variable = String(issue.path[0]);
    const found = environment[variable];
    const field: unknown = schema.shape[variable];
    const isSecret = field instanceof z.ZodType && field.meta()?.['secret'] === true;
    const shown =
      found === undefined ? 'nothing' : isSecret ? 'a value that is not shown' : JSON.stringify(found.slice(0, 100));
    const expected = issue.message.replace(/^Invalid input: /, '').replace(/, received undefined$/, '');
    return `${variable}: ${expected}; found ${shown}`;
  });
  throw new ConfigurationError(faults.join('. '));
}

/**
 * The topic map of a YAML file, or the default one.
 * @throws ConfigurationError when the file cannot be read, is not YAML, or is no topic map
 */
export function loadTopicMap(file: string | undefined): TopicMap {
  if (file === undefined) return defaultTopicMap;
  try {
    return TopicMap.from(new YamlSource(readFileSync(file, 'utf8')).value);
  } catch (error) {
    throw new ConfigurationError(
      `MUSTER_TOPIC_MAP: ${file} is not a topic map: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
}
