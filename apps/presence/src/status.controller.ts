import { Controller, Inject } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import { ContractError, decodeStatus, type StatusMessage } from '@muster/contract';
import { DeviceMessageContext, OnTopicRole } from '@muster/broker';
import { LOGGER, type Logger } from '@muster/service';
import { Fleet } from './fleet.ts';
import { PresenceMetrics } from './metrics.ts';
import { OWN_PROPERTY } from './reassertion.ts';

/** Takes what devices and brokers say on status and lwt topics. */
@Controller()
export class StatusController {
  constructor(
    @Inject(Fleet) private readonly fleet: Fleet,
    @Inject(PresenceMetrics) private readonly metrics: PresenceMetrics,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** A birth, a goodbye or a will; acknowledged when its effect is committed. */
  @OnTopicRole('status')
  async status(@Payload() payload: Uint8Array, @Ctx() context: DeviceMessageContext): Promise<void> {
    await this.#take(payload, context);
  }

  /** The same on the topic that the course's examples use. */
  @OnTopicRole('lwt')
  async lwt(@Payload() payload: Uint8Array, @Ctx() context: DeviceMessageContext): Promise<void> {
    await this.#take(payload, context);
  }

  async #take(payload: Uint8Array, context: DeviceMessageContext): Promise<void> {
    const { device, message } = context;
    // An empty payload is a retained message being cleared, not something that the device says.
    if (payload.length === 0) return;
    const text = Buffer.from(payload).toString('utf8');
    let status: StatusMessage;
    try {
      status = decodeStatus(payload);
    } catch (error) {
      if (!(error instanceof ContractError)) throw error;
      this.metrics.refused.inc({ reason: error.code });
      this.logger.warn(
        { device, topic: message.topic, code: error.code, sample: text.slice(0, 200), bytes: payload.length },
        'not a status; presence is unchanged',
      );
      return;
    }
    const { messageExpiryInterval: expirySeconds, userProperties } = message.properties;
    const input = {
      message: status,
      receivedAtMs: message.receivedAtMs,
      retained: message.retain,
      // At QoS 0 nothing waits for a session that is away.
      isResumed: message.retain && message.isBacklog && message.qos > 0,
      isOwn: userProperties !== undefined && OWN_PROPERTY in userProperties,
      ...{ broker: message.broker, topic: message.topic, payload: text, expirySeconds },
    };
    await this.fleet.take(device, input, !message.retain && !message.isBacklog);
  }
}
