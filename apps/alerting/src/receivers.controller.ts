import { randomUUID } from 'node:crypto';
import { Controller, Get, HttpCode, Inject, Param, Post, Query, Req } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import {
  alertNameSchema,
  deliveryPageSchema,
  deliveryQuerySchema,
  deliverySchema,
  receiverListSchema,
  type Delivery,
  type DeliveryPage,
  type DeliveryQuery,
  type ReceiverList,
} from '@muster/contract';
import { ProblemError } from '@muster/service';
import { actorOf, ApiProblem, RequireScope, type SignedInRequest } from '@muster/service/rest';
import type { NotificationRecord } from './alert-record.ts';
import { DeliveryStore } from './delivery-store.ts';
import { Outbox } from './outbox.ts';
import type { ReceiverConfiguration } from './receivers.ts';

/** The receivers; a class, so that Nest can inject it. */
export class Receivers {
  constructor(readonly all: readonly ReceiverConfiguration[]) {}
}

/** A notification that says that it is a test. */
function testOf(receiver: string, who: string): NotificationRecord {
  const now = new Date();
  const summary = `A test by ${who}: this receiver works`;
  const labels = { rule: 'muster-test', kind: 'test', severity: 'info', subject: receiver };
  return {
    ...{ id: randomUUID(), receiver, group: 'test', kind: 'test', createdMs: now.getTime() },
    content: {
      ...{ status: 'firing', summary, group: {}, firing: 1, omitted: 0 },
      alerts: [
        {
          ...{
            id: 'test',
            status: 'firing',
            rule: 'muster-test',
            severity: 'info',
            subject: receiver,
            summary,
            labels,
          },
          ...{ value: null, runbook: null, startedAt: now.toISOString() },
          // Over at once: it must not wake anybody twice.
          resolvedAt: new Date(now.getTime() + 60_000).toISOString(),
        },
      ],
    },
  };
}

/** The REST resources of receivers and of what was delivered to them. */
@Controller('api/v1')
@ApiTags('alerts')
export class ReceiversController {
  constructor(
    @Inject(Receivers) private readonly receivers: Receivers,
    @Inject(DeliveryStore) private readonly store: DeliveryStore,
    @Inject(Outbox) private readonly outbox: Outbox,
  ) {}

  @Get('receivers')
  @ApiOperation({ summary: 'Who is told of alerts, without secrets' })
  @ApiResponse({
    status: 200,
    description: 'Receivers, in the order of their file',
    standardSchema: receiverListSchema,
  })
  @ApiProblem(401)
  async listReceivers(): Promise<ReceiverList> {
    const activity = await this.store.activity(this.receivers.all.map(({ name }) => name));
    return {
      items: this.receivers.all.map(({ name, channel, route, target, shown }) => {
        const known = activity.get(name);
        const failure = known?.lastFailure ?? null;
        return {
          ...{ name, type: channel.type, target, ...shown },
          severities: [...route.severities],
          groupBy: [...route.group.groupBy],
          waiting: known?.waiting ?? 0,
          lastDeliveredAt: known?.lastDeliveredAt?.toISOString() ?? null,
          lastFailure: failure === null ? null : { at: failure.at.toISOString(), detail: failure.detail },
        };
      }),
    };
  }

  @Post('receivers/:name/test')
  @HttpCode(200)
  @RequireScope('operator')
  @ApiOperation({ summary: 'Tell a receiver a test, once, and say what it answered' })
  @ApiResponse({ status: 200, description: 'The attempt', standardSchema: deliverySchema })
  @ApiProblem(401, 403, 404, 422)
  async testReceiver(
    @Param('name', { schema: alertNameSchema }) name: string,
    @Req() request: SignedInRequest,
  ): Promise<Delivery> {
    if (!this.receivers.all.some((receiver) => receiver.name === name))
      throw new ProblemError(404, `there is no receiver ${name}; the file of MUSTER_ALERTING_RECEIVERS has them`);
    const attempt = await this.outbox.once(testOf(name, actorOf(request)));
    const { notification, number, atMs, outcome, detail, durationMs } = attempt;
    return {
      ...{ id: notification.id, notification: notification.id, receiver: name, kind: 'test', attempt: number },
      ...{ at: new Date(atMs).toISOString(), outcome, detail, durationMs, summary: notification.content.summary },
    };
  }

  @Get('deliveries')
  @ApiOperation({ summary: 'The log of what was delivered and what was not, the newest first' })
  @ApiResponse({ status: 200, description: 'A page', standardSchema: deliveryPageSchema })
  @ApiProblem(401, 422)
  async listDeliveries(@Query({ schema: deliveryQuerySchema }) query: DeliveryQuery): Promise<DeliveryPage> {
    return this.store.page(query);
  }
}
