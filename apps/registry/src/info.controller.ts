import { Controller, Inject } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import { ContractError, decodeInfo } from '@muster/contract';
import { DeviceMessageContext, OnTopicRole } from '@muster/broker';
import { LOGGER, type Logger } from '@muster/service';
import { Devices } from './devices.ts';

/** Takes what devices say about themselves. */
@Controller()
export class InfoController {
  constructor(
    @Inject(Devices) private readonly devices: Devices,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Keeps an info; acknowledged when it is committed. */
  @OnTopicRole('info')
  async info(@Payload() payload: Uint8Array, @Ctx() context: DeviceMessageContext): Promise<void> {
    // An empty payload is a retained message being cleared.
    if (payload.length === 0) return;
    try {
      await this.devices.takeInfo(context.device, decodeInfo(payload));
    } catch (error) {
      if (!(error instanceof ContractError)) throw error;
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
