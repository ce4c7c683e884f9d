import { readFileSync } from 'node:fs';
import {
  alertDurationMs,
  alertDurationSchema,
  alertNameSchema,
  alertSeveritySchema,
  matchersSchema,
  operatorText,
} from '@muster/contract';
import { ConfigurationError, YamlSource, type YamlFault } from '@muster/service';
import { z } from 'zod';
import type { Route } from './alert-book.ts';

/** How a receiver is reached; with the values of secrets, which are shown and logged nowhere. */
export type Channel =
  | {
      readonly type: 'alertmanager';
      readonly url: string;
      readonly authorization: string | undefined;
      /** How often what fires is told again, so that it does not end by itself there. */
      readonly resendMs: number;
    }
  | { readonly type: 'webhook'; readonly url: string; readonly key: Buffer }
  | {
      readonly type: 'email';
      readonly from: string;
      readonly to: readonly string[];
      readonly host: string;
      readonly port: number;
      readonly security: 'tls' | 'starttls' | 'none';
      readonly username: string | undefined;
      readonly password: string | undefined;
    };

/** Somebody who is told of alerts. */
export interface ReceiverConfiguration {
  readonly name: string;
  readonly channel: Channel;
  readonly route: Route;
  /** Where it is, as the file has it: with the names of secrets and not with their values. */
  readonly target: string;
  /** As the file has them. */
  readonly shown: { readonly groupWait: string; readonly groupInterval: string };
}

type Environment = Readonly<Record<string, string | undefined>>;

const REFERENCE = /\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g;
/** Alertmanager takes requests of some megabytes; an alert has some hundred bytes. */
const ALERTS_IN_A_REQUEST = 500;
/** A burst becomes few requests; that is all there is to wait for, because Alertmanager groups by itself. */
const ALERTMANAGER_WAIT_MS = 100;
/** Nobody reads more, and a mail or a hook has to take it. */
const ALERTS_IN_A_TEXT = 100;

const text = operatorText(500);
const secret = operatorText(200).regex(
  /^\$\{[A-Za-z_][A-Za-z0-9_]*\}$/,
  'expected the name of an environment variable, ${NAME}: secrets do not stand in files',
);
const common = {
  name: alertNameSchema,
  severities: z
    .array(alertSeveritySchema)
    .min(1)
    .default([...alertSeveritySchema.options]),
  match: matchersSchema.optional(),
  send_resolved: z.boolean().default(true),
};
const grouped = {
  group_by: z
    .array(text.regex(/^[a-zA-Z_][a-zA-Z0-9_]*$/, 'expected the name of a label'))
    .max(16)
    .default(['rule']),
  group_wait: alertDurationSchema.default('30s'),
  group_interval: alertDurationSchema.default('5m'),
};
const address = text.regex(/^[^\s<>,;"]+@[^\s<>,;"]+$/, 'expected an address such as ops@example.org');

const receiverSchema = z.discriminatedUnion('type', [
  z.strictObject({
    ...common,
    type: z.literal('alertmanager'),
    url: text,
    username: text.optional(),
    password: secret.optional(),
    resend: alertDurationSchema.default('1m'),
  }),
  z.strictObject({ ...common, ...grouped, type: z.literal('webhook'), url: text, secret }),
  z.strictObject({
    ...common,
    ...grouped,
    type: z.literal('email'),
    from: address,
    to: z.array(address).min(1).max(50),
    host: text,
    port: z.number().int().min(1).max(65_535).default(587),
    security: z.enum(['tls', 'starttls', 'none']).default('starttls'),
    username: text.optional(),
    password: secret.optional(),
  }),
]);
type Written = z.infer<typeof receiverSchema>;

const fileSchema = z.strictObject({ receivers: z.array(receiverSchema).max(50) });

/** Whether something cannot be used, and where that stands below a receiver. */
class Unusable extends Error {
  constructor(
    readonly key: string,
    message: string,
  ) {
    super(message);
  }
}

function expand(written: string, key: string, environment: Environment): string {
  return written.replace(REFERENCE, (_, name: string) => {
    const value = environment[name];
    if (value === undefined || value === '') throw new Unusable(key, `the environment has no ${name}`);
    return value;
  });
}

function origin(written: string, key: string, environment: Environment): string {
  const expanded = expand(written, key, environment);
  const url = URL.canParse(expanded) ? new URL(expanded) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol))
    throw new Unusable(key, 'expected http://HOST:PORT/… or https://…');
  if (url.username !== '' || url.password !== '')
    throw new Unusable(key, 'expected no account in it; use the keys for that, or a reference to the environment');
  return url.href;
}

/** The key of a signature, as Standard Webhooks has it: `whsec_` and 24 to 64 bytes in base64. */
function signingKey(written: string, environment: Environment): Buffer {
  const base64 = expand(written, 'secret', environment).replace(/^whsec_/, '');
  const key = Buffer.from(base64, 'base64');
  const isBase64 = key.toString('base64').replace(/=+$/, '') === base64.replace(/=+$/, '');
  if (isBase64 && key.length >= 24 && key.length <= 64) return key;
  throw new Unusable('secret', `expected whsec_ and 24 to 64 bytes in base64 (whsec_$(openssl rand -base64 32))`);
}

function channelOf(written: Written, environment: Environment): Channel {
  switch (written.type) {
    case 'alertmanager': {
      const { username, password } = written;
      if ((username === undefined) !== (password === undefined))
        throw new Unusable('type', 'expected username and password, or none of them');
      const account = `${username ?? ''}:${expand(password ?? '', 'password', environment)}`;
      return {
        type: 'alertmanager',
        url: origin(written.url, 'url', environment).replace(/\/+$/, ''),
        authorization: username === undefined ? undefined : `Basic ${Buffer.from(account).toString('base64')}`,
        resendMs: Math.max(1_000, alertDurationMs(written.resend)),
      };
    }
    case 'webhook':
      return {
        type: 'webhook',
        url: origin(written.url, 'url', environment),
        key: signingKey(written.secret, environment),
      };
    case 'email': {
      const { from, to, host, port, security, username, password } = written;
      if (password !== undefined && security === 'none')
        throw new Unusable('security', 'expected tls or starttls: a password would travel in the clear');
      return {
        ...{ type: 'email', from, to, host, port, security, username },
        password: password === undefined ? undefined : expand(password, 'password', environment),
      };
    }
  }
}

function routeOf(written: Written): Route {
  const { name, severities, match = {}, send_resolved: sendResolved } = written;
  const base = { receiver: name, severities, match };
  if (written.type === 'alertmanager')
    return {
      ...base,
      group: { groupBy: [], waitMs: ALERTMANAGER_WAIT_MS, intervalMs: 0, sendResolved },
      maxAlerts: ALERTS_IN_A_REQUEST,
      takesEach: true,
    };
  const { group_by: groupBy, group_wait: wait, group_interval: interval } = written;
  return {
    ...base,
    group: { groupBy, waitMs: alertDurationMs(wait), intervalMs: alertDurationMs(interval), sendResolved },
    maxAlerts: ALERTS_IN_A_TEXT,
    takesEach: false,
  };
}

function receiverOf(written: Written, environment: Environment): ReceiverConfiguration {
  return {
    name: written.name,
    channel: channelOf(written, environment),
    route: routeOf(written),
    target: written.type === 'email' ? written.to.join(', ') : written.url,
    shown:
      written.type === 'alertmanager'
        ? { groupWait: `${ALERTMANAGER_WAIT_MS}ms`, groupInterval: '0s' }
        : { groupWait: written.group_wait, groupInterval: written.group_interval },
  };
}

/**
 * The receivers of a YAML text. References to the environment, `${NAME}`, stand for secrets.
 * @throws YamlError
 */
export function parseReceivers(yaml: string, environment: Environment): readonly ReceiverConfiguration[] {
  const source = new YamlSource(yaml);
  const value = source.as(fileSchema);
  const faults: YamlFault[] = [];
  const receivers = value.receivers.flatMap((written, index) => {
    if (value.receivers.findIndex(({ name }) => name === written.name) !== index)
      faults.push(source.faultAt(['receivers', index, 'name'], 'another receiver has this name'));
    try {
      return [receiverOf(written, environment)];
    } catch (error) {
      if (!(error instanceof Unusable)) throw error;
      faults.push(source.faultAt(['receivers', index, error.key], error.message));
      return [];
    }
  });
  YamlSource.refuse(faults);
  return receivers;
}

/**
 * The receivers of a file; none where no file is named.
 * @throws ConfigurationError
 */
export function loadReceivers(file: string | undefined, environment: Environment): readonly ReceiverConfiguration[] {
  if (file === undefined) return [];
  try {
    return parseReceivers(readFileSync(file, 'utf8'), environment);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigurationError(`MUSTER_ALERTING_RECEIVERS: ${file}: ${reason}`, { cause: error });
  }
}
