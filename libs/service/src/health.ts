import { Controller, Get, Inject, Res } from '@nestjs/common';
import type { Response } from 'express';
import { Registry, collectDefaultMetrics } from 'prom-client';

/** Something that must be well before a service takes work. */
export interface ReadinessCheck {
  readonly name: string;
  /** Answers what is wrong, or undefined. */
  readonly check: () => Promise<string | undefined> | string | undefined;
}

/** Injection token of the readiness checks. */
export const READINESS = Symbol('readiness checks');
/** Injection token of the metrics of a service (prom-client's Registry). */
export const METRICS = Symbol('metrics');
const CHECK_TIMEOUT_MS = 2_000;

/** The metrics of a service, with those of the process. */
export function createMetrics(service: string): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ service });
  collectDefaultMetrics({ register: registry });
  return registry;
}

async function faultOf({ check }: ReadinessCheck): Promise<string | undefined> {
  let timer: NodeJS.Timeout | undefined;
  try {
    return await Promise.race([
      Promise.resolve().then(check),
      new Promise<string>((resolve) => {
        timer = setTimeout(() => resolve(`no answer within ${CHECK_TIMEOUT_MS} ms`), CHECK_TIMEOUT_MS);
      }),
    ]);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    clearTimeout(timer);
  }
}

/** Liveness, readiness and metrics of a service. */
@Controller()
export class HealthController {
  constructor(
    @Inject(READINESS) private readonly checks: readonly ReadinessCheck[],
    @Inject(METRICS) private readonly metrics: Registry,
  ) {}

  /** Whether the process runs; asks nobody else, so that an outage elsewhere never restarts the service. */
  @Get('healthz')
  healthz(): { status: 'ok' } {
    return { status: 'ok' };
  }

  /** Whether the service can do its work now; 503 with what is wrong otherwise. */
  @Get('readyz')
  async readyz(
    @Res({ passthrough: true }) response: Response,
  ): Promise<{ status: string; checks: Record<string, string> }> {
    const faults = await Promise.all(this.checks.map(faultOf));
    const ready = faults.every((fault) => fault === undefined);
    if (!ready) response.status(503);
    return {
      status: ready ? 'ready' : 'not ready',
      checks: Object.fromEntries(this.checks.map(({ name }, index) => [name, faults[index] ?? 'ok'])),
    };
  }

  /** Metrics in Prometheus' text format. */
  @Get('metrics')
  async metricsText(@Res() response: Response): Promise<void> {
    response.type(this.metrics.contentType).send(await this.metrics.metrics());
  }
}
