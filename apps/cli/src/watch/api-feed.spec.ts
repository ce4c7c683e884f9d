import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { DeviceId, Device, Presence } from '@muster/contract';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ApiError } from '../api-client.ts';
import { apiFeed } from './api-feed.ts';
import { parseDeviceFilters } from './filters.ts';
import type { LiveReadings } from '@muster/contract';
import type { FiringAlert } from './firing-alerts.ts';
import type { ReceivedEvent } from './watch-model.ts';

const AT = '2026-11-22T14:32:15.000Z';

const online: Presence = {
  ...{ state: 'online', reason: 'birth', explanation: 'The device said that it is online.', since: AT, session: 7 },
  ...{ wakeExpectedAt: null, evidence: null, flags: [] },
};

function device(id: string, temp: number, at: string, presence: Presence = online): Device {
  return {
    ...{ id: id as DeviceId, state: 'registered', name: null, description: null, info: null, lastSeenAt: at, presence },
    ...{ discoveredAt: AT, updatedAt: AT, replacedAt: null, replacements: 0, tags: [], groups: [], traffic: null },
    readings: { temp: { value: temp, unit: '°C', at } },
  };
}

/** One side of the contract that the feed reads, with state that a test changes; the network between is real. */
class ContractServer {
  devices: readonly Device[] = [];
  alerts: readonly FiringAlert[] | number = 404;
  live: 'open' | number = 'open';
  refusal: number | undefined;
  readonly liveQueries: string[] = [];
  readonly authorizations: (string | undefined)[] = [];
  readonly #streams = new Set<ServerResponse>();
  readonly #server: Server = createServer((request, response) => this.#answer(request, response));

  async listen(port = 0): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(port, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get streams(): number {
    return this.#streams.size;
  }

  send(text: string): void {
    for (const stream of this.#streams) stream.write(text);
  }

  sendReadings(...readings: LiveReadings['readings']): void {
    this.send(`event: readings\ndata: ${JSON.stringify({ broker: 'mosquitto-0', readings })}\n\n`);
  }

  breakStreams(): void {
    for (const stream of this.#streams) stream.destroy();
    this.#streams.clear();
  }

  async close(): Promise<void> {
    this.breakStreams();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', 'http://server');
    this.authorizations.push(request.headers.authorization);
    const json = (status: number, body: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    };
    const problem = (status: number): void =>
      json(status, { type: 'about:blank', title: 'refused', status, detail: `said ${status}` });
    if (this.refusal !== undefined) problem(this.refusal);
    else if (url.pathname === '/api/v1/devices') {
      // Two a page, so that there are several.
      const from = Number(url.searchParams.get('cursor') ?? 0);
      const next = from + 2 < this.devices.length ? String(from + 2) : null;
      json(200, { items: this.devices.slice(from, from + 2), next });
    } else if (url.pathname === '/api/v1/alerts' && url.searchParams.get('state') === 'firing') {
      if (typeof this.alerts === 'number') problem(this.alerts);
      else json(200, { items: this.alerts, next: null });
    } else if (url.pathname === '/api/v1/live' && this.live === 'open') {
      this.liveQueries.push(url.search);
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': alive\n\n');
      this.#streams.add(response);
    } else problem(url.pathname === '/api/v1/live' && typeof this.live === 'number' ? this.live : 404);
  }
}

/** A feed that runs, and what it has told. */
interface RunningFeed {
  readonly events: readonly ReceivedEvent[];
  readonly ended: Promise<void>;
  readonly stop: () => void;
}

const open: { close: () => Promise<void> }[] = [];

async function serve(): Promise<{ readonly server: ContractServer; readonly url: string }> {
  const server = new ContractServer();
  open.push(server);
  return { server, url: await server.listen() };
}

function watch(url: string, ...filters: readonly string[]): RunningFeed {
  const events: ReceivedEvent[] = [];
  const abort = new AbortController();
  const target = { url, token: 'secret', timeoutMs: 2_000 };
  const ended = apiFeed({ target, filter: parseDeviceFilters(filters) })((event) => events.push(event), abort.signal);
  // A test that is about it awaits it.
  ended.catch(() => undefined);
  open.push({
    close: async () => {
      abort.abort();
      await ended.catch(() => undefined);
    },
  });
  return { events, ended, stop: () => abort.abort() };
}

function values({ events }: RunningFeed): readonly string[] {
  return events.flatMap((event) =>
    event.kind === 'readings'
      ? event.readings.map(
          ({ metric, value, qos, replay, late }) =>
            `${event.device} ${metric} ${value} ${qos ?? '-'}${replay === null ? '' : ` ${replay}`}${late ? ' late' : ''}`,
        )
      : [],
  );
}

function states({ events }: RunningFeed): readonly string[] {
  return events.flatMap((event) => (event.kind === 'feed' ? [event.feed.state] : []));
}

async function until(check: () => void): Promise<void> {
  await vi.waitFor(check, { timeout: 15_000, interval: 20 });
}

describe('what comes through the API', () => {
  afterEach(async () => {
    for (const one of open.splice(0).reverse()) await one.close();
  });

  it('is every device with what was stored of it, and then live values with their QoS', async () => {
    const { server, url } = await serve();
    server.devices = [device('lab1', 22, AT), device('lab2', 23, AT), device('lab3', 24, AT)];
    const feed = watch(url);
    await until(() => expect(states(feed)).toContain('live'));
    await until(() => expect(values(feed)).toHaveLength(3));
    server.sendReadings(
      { device: 'lab1', metric: 'temp', value: 22.5, unit: '°C', at: 1_698_765_432_123, qos: 1, late: false },
      { device: 'lab9', metric: 'light', value: 'ON', unit: null, at: 1_698_765_432_124, qos: 0, late: true },
    );
    server.send(': alive\n\nevent: other\ndata: {}\n\n');
    await until(() => expect(values(feed)).toHaveLength(5));
    expect(values(feed)).toEqual([
      ...['lab1 temp 22 - stored', 'lab2 temp 23 - stored', 'lab3 temp 24 - stored'],
      ...['lab1 temp 22.5 1', 'lab9 light ON 0 late'],
    ]);
    expect(feed.events.find(({ kind }) => kind === 'presence')).toMatchObject({
      device: 'lab1',
      presence: { state: 'online', reason: 'birth', sinceMs: Date.parse(AT), session: 7, replay: 'stored' },
    });
    expect(new Set(server.authorizations)).toEqual(new Set(['Bearer secret']));
  });

  it('is only what was asked for, and the API is asked for exact names alone', async () => {
    const { server, url } = await serve();
    server.devices = [device('lab1', 22, AT), device('lab2', 23, AT)];
    const feed = watch(url, 'lab1/temp', 'lab1/hum');
    await until(() => expect(server.liveQueries).toEqual(['?device=lab1&metric=temp&metric=hum']));
    const common = { unit: null, at: Date.parse(AT) + 1, qos: 0, late: false } as const;
    server.sendReadings(...['lab2', 'lab1'].map((id) => ({ device: id, metric: 'temp', value: 30, ...common })), {
      device: 'lab1',
      metric: 'vbat',
      value: 3.9,
      ...common,
    });
    await until(() => expect(values(feed)).toEqual(['lab1 temp 22 - stored', 'lab1 temp 30 0']));
  });

  it('tells presence that changed, names, and devices that are gone', async () => {
    const { server, url } = await serve();
    server.devices = [device('lab1', 22, AT), device('lab2', 23, AT)];
    const feed = watch(url);
    await until(() => expect(feed.events.filter(({ kind }) => kind === 'presence')).toHaveLength(2));
    const lost: Presence = { ...online, state: 'lost', reason: 'will' };
    server.devices = [{ ...device('lab1', 22, AT, lost), name: 'Kitchen' }];
    const presences = (): readonly ReceivedEvent[] => feed.events.filter(({ kind }) => kind === 'presence');
    await until(() => expect(presences().at(-1)).toMatchObject({ device: 'lab1', presence: { state: 'lost' } }));
    expect(feed.events).toContainEqual(expect.objectContaining({ kind: 'named', device: 'lab1', name: 'Kitchen' }));
    expect(feed.events).toContainEqual(expect.objectContaining({ kind: 'removed', device: 'lab2' }));
    // What did not change is not told again.
    expect(presences()).toHaveLength(3);
  });

  it('goes on after the stream broke, and reads in the list what was missed', async () => {
    const { server, url } = await serve();
    server.devices = [device('lab1', 22, AT)];
    const feed = watch(url);
    await until(() => expect(states(feed)).toContain('live'));
    await until(() => expect(values(feed)).toEqual(['lab1 temp 22 - stored']));
    server.live = 503;
    server.breakStreams();
    await until(() => expect(states(feed).at(-1)).toBe('away'));
    server.devices = [device('lab1', 25, '2026-11-22T14:40:00.000Z')];
    server.live = 'open';
    await until(() => expect(states(feed).at(-1)).toBe('live'));
    await until(() => expect(values(feed)).toEqual(['lab1 temp 22 - stored', 'lab1 temp 25 - stored']));
  });

  it('asks every second where the API has no stream, and says so once', async () => {
    const { server, url } = await serve();
    server.live = 404;
    server.devices = [device('lab1', 22, AT)];
    const feed = watch(url);
    await until(() => expect(states(feed)).toContain('polling'));
    await until(() => expect(values(feed)).toEqual(['lab1 temp 22 - stored']));
    server.devices = [device('lab1', 23, '2026-11-22T14:32:16.000Z')];
    await until(() => expect(values(feed)).toEqual(['lab1 temp 22 - stored', 'lab1 temp 23 -']));
    const texts = feed.events.flatMap((event) => (event.kind === 'feed' ? [event.feed.text] : []));
    expect(new Set(texts.filter((text) => text.includes('asking for all devices every second'))).size).toBe(1);
  });

  it.each([401, 403, 404])('ends with what is wrong where the first answer is %i', async (status) => {
    const { server, url } = await serve();
    server.refusal = status;
    await expect(watch(url).ended).rejects.toThrow(ApiError);
    await expect(watch(url).ended).rejects.toThrow(`${status}: said ${status}`);
  });

  it('waits for an API that is not there yet, and for one that is away, and says so', async () => {
    const first = await serve();
    await first.server.close();
    open.length = 0;
    const feed = watch(first.url);
    await until(() => expect(states(feed).at(-1)).toBe('away'));
    const { port } = new URL(first.url);
    const server = new ContractServer();
    open.push(server);
    server.devices = [device('lab1', 22, AT)];
    await server.listen(Number(port));
    await until(() => expect(states(feed).at(-1)).toBe('live'));
    server.refusal = 503;
    server.breakStreams();
    await until(() => expect(states(feed).at(-1)).toBe('away'));
    server.refusal = 401;
    await until(() => expect(feed.events.some((event) => JSON.stringify(event).includes('said 401'))).toBe(true));
    server.refusal = undefined;
    await until(() => expect(states(feed).at(-1)).toBe('live'));
  });

  it.each([
    ['no JSON', 'event: readings\ndata: {oops\n\n', 'no JSON'],
    ['something else', 'event: readings\ndata: {"readings":[{"device":1}]}\n\n', 'not as this version expects'],
    ['an event without an end', `data: ${'x'.repeat(5 * 1024 * 1024)}`, 'no live values'],
  ])('is not believed where the stream sends %s', async (_, text, why) => {
    const { server, url } = await serve();
    const feed = watch(url);
    await until(() => expect(states(feed)).toContain('live'));
    server.send(text);
    await until(() =>
      expect(feed.events).toContainEqual(
        expect.objectContaining({ kind: 'feed', feed: { state: 'away', text: expect.stringContaining(why) } }),
      ),
    );
    await until(() => expect(states(feed).at(-1)).toBe('live'));
  });

  it('has alerts where there is alerting, and says why where there is none', async () => {
    const { server, url } = await serve();
    const feed = watch(url);
    await until(() => expect(feed.events).toContainEqual(expect.objectContaining({ kind: 'no-alerts' })));
    server.alerts = [
      {
        ...{ id: 'a1', rule: 'hot', severity: 'critical', subject: 'lab1', summary: 'too hot', state: 'firing' },
        ...{ startedAt: AT, acknowledgedAt: null },
      },
    ];
    await until(() =>
      expect(feed.events).toContainEqual(expect.objectContaining({ kind: 'alerts', firing: server.alerts })),
    );
    server.alerts = 503;
    await until(() =>
      expect(feed.events).toContainEqual(expect.objectContaining({ kind: 'no-alerts', fault: '503: said 503' })),
    );
  });

  it('ends at once when somebody leaves, whatever is under way', async () => {
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const feed = watch(`http://127.0.0.1:${(silent.address() as AddressInfo).port}`);
    const startedAt = performance.now();
    feed.stop();
    await feed.ended;
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    silent.closeAllConnections();
    silent.close();
  });
});
