import { Controller, Inject } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import { ContractError, decodeInfo } from '@muster/contract';
import { DeviceMessageContext, OnTopicRole } from '@muster/broker';
import { LOGGER, METRICS, type Logger } from '@muster/service';
import { Counter, Registry } from 'prom-client';
import { InfoIntake } from './info-intake.ts';

/** Takes what devices say about themselves. */
@Controller()
export class InfoController {
  readonly #refused: Counter<'reason'>;

  constructor(
    @Inject(InfoIntake) private readonly intake: InfoIntake,
    @Inject(LOGGER) private readonly logger: Logger,
    @Inject(METRICS) metrics: Registry,
  ) {
    this.#refused = new Counter({
      name: 'muster_registry_refused_total',
      help: 'Messages on info topics that are no info',
      labelNames: ['reason'],
      registers: [metrics],
    });
  }

  /** Keeps an info; acknowledged when it is committed. */
  @OnTopicRole('info')
  async info(@Payload() payload: Uint8Array, @Ctx() context: DeviceMessageContext): Promise<void> {
    // An empty payload is a retained message being cleared.
    if (payload.length === 0) return;
    try {
      await this.intake.take(context.device, decodeInfo(payload));
    } catch (error) {
      if (!(error instanceof ContractError)) throw error;
      this.#refused.inc({ reason: error.code });
      this.logger.warn(
        {
          device: context.device,
          code: error.code,
          sample: Buffer.from(payload).toString('utf8').slice(0, 200),
          bytes: payload.length,
        },
        'not a device info; what was known stays',
      );
    }
  }
}
