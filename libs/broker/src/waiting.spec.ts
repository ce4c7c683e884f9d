import { describe, expect, it } from 'vitest';
import { BrokerError, type BrokerErrorCode } from './broker-target.ts';
import { whenConnected } from './waiting.ts';

/** A connection whose attempts end like this, one after the other; the next one succeeds. */
function connectionAfter(...failures: readonly BrokerErrorCode[]) {
  const left = [...failures];
  const connection = {
    ready: false,
    whenReady: (): Promise<void> => {
      const code = left.shift();
      connection.ready = code === undefined;
      return code === undefined ? Promise.resolve() : Promise.reject(new BrokerError(code, `mosquitto-0: ${code}`));
    },
  };
  return connection;
}

describe('whoever waits for a connection', () => {
  const { signal } = new AbortController();

  it('is answered when it is ready, also where the broker was away or has refused something until then', async () => {
    const connection = connectionAfter('unreachable', 'subscription-refused', 'publish-refused');
    await whenConnected(connection, signal);
    expect(connection.ready).toBe(true);
  });

  it('is told at once that it has been closed', async () => {
    await expect(whenConnected(connectionAfter('closed'), signal)).rejects.toMatchObject({ code: 'closed' });
  });

  it('waits no longer than anybody wants it', async () => {
    const ended = AbortSignal.abort(new Error('automation is stopping'));
    await expect(whenConnected(connectionAfter('unreachable'), ended)).rejects.toThrow('automation is stopping');
  });
});
