import type { LoggerService } from '@nestjs/common';
import type { ConnectionEvent } from '@muster/broker';
import { pino, stdTimeFunctions, type Logger } from 'pino';

export type { Logger } from 'pino';

/** The log of a service: one JSON object a line on standard output, times in UTC. */
export function createLogger(service: string, level: string): Logger {
  return pino({
    level,
    base: { service },
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    redact: {
      paths: ['password', '*.password', 'token', '*.token', 'authorization', '*.authorization'],
      censor: '[hidden]',
    },
  });
}

/** Lets Nest log through the service's logger; what Nest says at start is of no use to operators, so `log` is debug. */
export function nestLogger(logger: Logger): LoggerService {
  const context = (parameters: readonly unknown[]): { context?: unknown } =>
    parameters.length === 0 ? {} : { context: parameters.at(-1) };
  const text = (message: unknown): string =>
    message instanceof Error ? (message.stack ?? message.message) : String(message);
  return {
    log: (message: unknown, ...rest: unknown[]) => logger.debug(context(rest), text(message)),
    debug: (message: unknown, ...rest: unknown[]) => logger.debug(context(rest), text(message)),
    verbose: (message: unknown, ...rest: unknown[]) => logger.trace(context(rest), text(message)),
    warn: (message: unknown, ...rest: unknown[]) => logger.warn(context(rest), text(message)),
    error: (message: unknown, ...rest: unknown[]) => logger.error(context(rest), text(message)),
    fatal: (message: unknown, ...rest: unknown[]) => logger.fatal(context(rest), text(message)),
  };
}

/** Writes what happens to a broker connection into the log. */
export function logConnectionEvent(logger: Logger): (event: ConnectionEvent) => void {
  return (event) => {
    switch (event.kind) {
      case 'connected':
        logger.info({ broker: event.broker, sessionPresent: event.sessionPresent }, 'connected to the broker');
        break;
      case 'disconnected':
        logger.warn({ broker: event.broker, retryInMs: event.retryInMs }, 'the broker is away');
        break;
      case 'failed':
        logger.warn({ broker: event.broker, reason: event.error.message }, 'broker connection');
        break;
      case 'dropped':
        logger.debug({ broker: event.broker, topic: event.topic }, 'a QoS 0 message was dropped');
        break;
    }
  };
}

/** Writes into the log what is removed because it is old. */
export function logRetention(logger: Logger): {
  readonly onRemoved: (table: string, rows: number, tookMs: number) => void;
  readonly onError: (table: string, error: unknown) => void;
} {
  return {
    onRemoved: (table, rows, tookMs) => logger.info({ table, rows, tookMs: Math.round(tookMs) }, 'removed what is old'),
    onError: (table, error) => logger.warn({ err: error, table }, 'what is old was not removed; it is tried again'),
  };
}
