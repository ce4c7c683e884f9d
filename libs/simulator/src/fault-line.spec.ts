import { once } from 'node:events';
import { createConnection, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FaultLine } from './fault-line.ts';

describe('a slow line', () => {
  let server: Server;
  let line: FaultLine;
  let near: Socket;
  let heard = '';
  let hasEnded = false;

  beforeEach(async () => {
    heard = '';
    hasEnded = false;
    server = createServer((far) => {
      far.on('data', (bytes) => (heard += bytes.toString()));
      far.on('end', () => (hasEnded = true));
      // The line is cut at the end of a test.
      far.on('error', () => undefined);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    line = await FaultLine.open({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
    near = createConnection(line.port, '127.0.0.1');
    near.on('error', () => undefined);
    await once(near, 'connect');
  });
  afterEach(async () => {
    near.destroy();
    await line.close();
    server.close();
  });

  it('carries the last word of a client that leaves, and then the end', async () => {
    line.delay(100);
    near.end('goodbye');
    await vi.waitFor(() => expect(hasEnded).toBe(true));
    expect(heard).toBe('goodbye');
  });

  it('keeps the order of bytes when it becomes faster', async () => {
    line.delay(200);
    near.write('1');
    await vi.waitFor(() => expect(line.takeCounts().toBroker.bytes).toBe(1));
    line.delay(0);
    near.write('2');
    await vi.waitFor(() => expect(heard).toHaveLength(2));
    expect(heard).toBe('12');
  });
});
