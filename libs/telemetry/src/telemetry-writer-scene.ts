import { mkdtempSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, expect, vi } from 'vitest';
import { Influx, type InfluxOptions } from './influx.ts';
import { splitLines } from './line-protocol.ts';
import { Spool, type SpoolOptions } from './spool.ts';
import { TelemetryWriter } from './telemetry-writer.ts';
import type { TelemetryWriterOptions, WriterEvent } from './telemetry-writer-options.ts';

const cleanUps: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** A write as InfluxDB got it. */
export interface WriteRequest {
  readonly lines: readonly string[];
  readonly request: IncomingMessage;
}
/** What is answered to a write. */
export type Answer = (response: ServerResponse, write: WriteRequest) => void;

/** What InfluxDB answers, over real HTTP; lines that it was sent and answered 204 for are in `stored`. */
export class FakeInflux {
  readonly stored: string[] = [];
  readonly writes: WriteRequest[] = [];
  url = '';
  #answer: Answer = (response) => response.writeHead(204).end();

  async start(): Promise<this> {
    const server = createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => {
        const body = Buffer.concat(parts);
        const text = request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body;
        const write = { lines: splitLines(text.toString()), request };
        this.writes.push(write);
        response.on('finish', () => response.statusCode === 204 && this.stored.push(...write.lines));
        this.#answer(response, write);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    cleanUps.push(() => {
      server.closeAllConnections();
      server.close();
    });
    return this;
  }

  answers(answer: Answer): void {
    this.#answer = answer;
  }

  answersOk(): void {
    this.answers((response) => response.writeHead(204).end());
  }

  answersError(status: number, error: string, headers: Readonly<Record<string, string>> = {}): void {
    this.answers((response) => fail(response, status, error, headers));
  }
}

/** Answers with an error as InfluxDB does. */
export function fail(
  response: ServerResponse,
  status: number,
  error: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify({ error }));
}

/** A writer with a spool on disk before an InfluxDB whose answers a test decides. */
export interface Scene {
  readonly influx: FakeInflux;
  readonly spool: Spool;
  readonly writer: TelemetryWriter;
  readonly events: WriterEvent[];
  readonly refused: [line: string, reason: string][];
  readonly kinds: () => readonly string[];
}

/** A spool that is closed after the test. */
export async function openSpool(folder: string, options: Partial<SpoolOptions> = {}): Promise<Spool> {
  const spool = await Spool.open({ folder, maxBytes: 10_000_000, maxAgeDays: 7, onEvent: () => undefined, ...options });
  cleanUps.push(() => spool.close());
  return spool;
}

/** Sets a scene, which is cleared after the test. */
export async function scene(
  options: Partial<TelemetryWriterOptions> = {},
  spoolOptions: Partial<SpoolOptions> = {},
  influxOptions: InfluxOptions = { timeoutMs: 300 },
): Promise<Scene> {
  const influx = await new FakeInflux().start();
  const spool = await openSpool(mkdtempSync(path.join(tmpdir(), 'spool-')), spoolOptions);
  const target = { url: influx.url, database: 'muster', username: 'muster', password: 'secret' };
  const events: WriterEvent[] = [];
  const refused: [string, string][] = [];
  const writer = new TelemetryWriter({
    influx: new Influx(target, influxOptions),
    spool,
    maxBatchLines: 100,
    maxBatchBytes: 100_000,
    maxDelayMs: 5,
    maxRequests: 4,
    maxHeldBytes: 1_000_000,
    onRefused: (line, reason) => refused.push([line, reason]),
    onEvent: (event) => events.push(event),
    ...options,
  });
  cleanUps.push(() => writer.close(0));
  return { influx, spool, writer, events, refused, kinds: () => events.map(({ kind }) => kind) };
}

/** Lines of one device, each with a value and a time of its own. */
export function linesOf(from: number, count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `telemetry,device=d temp=${from + index} ${1_000 + from + index}`);
}

/** Waits until the spool is empty. */
export async function drained({ spool }: Scene): Promise<void> {
  await vi.waitFor(() => expect(spool.isEmpty).toBe(true), { timeout: 10_000, interval: 5 });
}

/** As InfluxDB 1.x: it stores the good lines of a batch and says how many it dropped, of which it names one. */
export function partialWrite(influx: FakeInflux, isBad: (line: string) => boolean, options = { counts: true }): Answer {
  return (response, { lines }) => {
    const bad = lines.filter(isBad);
    if (bad.length === 0) {
      response.writeHead(204).end();
      return;
    }
    influx.stored.push(...lines.filter((line) => !isBad(line)));
    const dropped = options.counts ? bad.length : 0;
    fail(response, 400, `partial write: field type conflict: input field "temp" dropped=${dropped}`);
  };
}
