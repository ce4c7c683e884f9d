import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { Catch, Controller, Module, type ExceptionFilter, type INestMicroservice } from '@nestjs/common';
import { APP_FILTER, NestFactory } from '@nestjs/core';
import { Ctx, Payload } from '@nestjs/microservices';
import { TopicMap } from '@muster/contract';
import { throwError, type Observable } from 'rxjs';
import { afterEach, describe, expect, inject, it, vi } from 'vitest';
import { BrokerConnection } from './broker-connection.ts';
import { DeviceMessageContext, DeviceTransport, OnTopicRole } from './device-transport.ts';

const { broker } = inject('engines');
const prefix = `transport-${randomUUID()}`;
const topicMap = TopicMap.from({
  topics: [
    { pattern: `${prefix}/{device}/status`, role: 'status' },
    { pattern: `${prefix}/{device}/info`, role: 'info' },
  ],
});
const seen: string[] = [];
let failuresLeft = 0;

@Controller()
class DeviceController {
  @OnTopicRole('status')
  async status(@Payload() payload: Uint8Array, @Ctx() context: DeviceMessageContext): Promise<void> {
    await Promise.resolve();
    if (failuresLeft > 0) {
      failuresLeft -= 1;
      throw new Error(Buffer.from(payload).toString() === 'poison' ? 'never' : 'the store is away');
    }
    const text = Buffer.from(payload).toString();
    if (text === 'slow') await new Promise((resolve) => setTimeout(resolve, 300));
    seen.push(`${context.device} ${context.role} ${Buffer.from(payload).toString()} retain=${context.message.retain}`);
  }
}

@Catch()
class KeepError implements ExceptionFilter {
  catch(error: unknown): Observable<never> {
    return throwError(() => error);
  }
}

@Module({ controllers: [DeviceController], providers: [{ provide: APP_FILTER, useClass: KeepError }] })
class DeviceModule {}

describe('Nest on device topics', () => {
  let application: INestMicroservice | undefined;
  const publisher = new BrokerConnection({ broker, clientId: `test-${randomUUID()}`, sessionExpirySeconds: 0 });
  const onFailure = vi.fn();
  const onUnknown = vi.fn();

  async function start(handlersKeepOrder = false): Promise<void> {
    const strategy = new DeviceTransport({
      service: prefix,
      brokers: [broker],
      topicMap,
      sessionExpirySeconds: 60,
      connectTimeoutMs: 5_000,
      onEvent: () => undefined,
      handlersKeepOrder,
      isHopeless: (error) => error instanceof Error && error.message === 'never',
      onUnknown,
      onFailure,
    });
    application = await NestFactory.createMicroservice(DeviceModule, { strategy, logger: false });
    await application.listen();
  }

  afterEach(async () => {
    vi.clearAllMocks();
    await application?.close();
    seen.length = 0;
  });

  it('hands over bytes with device, role and retain flag, on every topic of the role', async () => {
    await start();
    await publisher.publish(`${prefix}/a/status`, 'online');
    await publisher.publish(`${prefix}/b/status`, '{"status":"offline"}');
    await publisher.publish(`${prefix}/a b/status`, 'online');
    await vi.waitFor(() => expect(onUnknown).toHaveBeenCalledOnce());
    expect(seen).toEqual(['a status online retain=false', 'b status {"status":"offline"} retain=false']);
  });

  it('tries a message again until its handler succeeds, and acknowledges it then', async () => {
    await start();
    failuresLeft = 2;
    await publisher.publish(`${prefix}/c/status`, 'online');
    await vi.waitFor(() => expect(seen).toEqual(['c status online retain=false']), { timeout: 5_000 });
    expect(onFailure).toHaveBeenCalledTimes(2);
  });

  it.each([
    ['waits with a message for the one of the same topic before it', false, ['slow', 'next']],
    ['does not wait where handlers keep the order by themselves', true, ['next', 'slow']],
  ])('%s', async (_, handlersKeepOrder, expected) => {
    await start(handlersKeepOrder);
    for (const text of ['slow', 'next']) await publisher.publish(`${prefix}/h/status`, text);
    await vi.waitFor(() => expect(seen).toEqual(expected.map((text) => `h status ${text} retain=false`)));
  });

  it('gives up a message whose failure would come again each time, and goes on with the next', async () => {
    await start();
    failuresLeft = 1;
    await publisher.publish(`${prefix}/e/status`, 'poison');
    await publisher.publish(`${prefix}/f/status`, 'online');
    await vi.waitFor(() => expect(seen).toEqual(['f status online retain=false']));
    expect(onFailure).toHaveBeenCalledOnce();
    await application?.close();
    seen.length = 0;
    await start();
    await publisher.publish(`${prefix}/g/status`, 'online');
    await vi.waitFor(() => expect(seen).toEqual(['g status online retain=false']));
  });

  it('gets on the next start what no handler could take before the end', async () => {
    await start();
    failuresLeft = Number.POSITIVE_INFINITY;
    await publisher.publish(`${prefix}/d/status`, 'online');
    await vi.waitFor(() => expect(onFailure).toHaveBeenCalled());
    await application?.close();
    failuresLeft = 0;
    await start();
    await vi.waitFor(() => expect(seen).toEqual(['d status online retain=false']));
  });
});
