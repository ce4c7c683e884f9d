import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { eventSchema, type FleetEvent } from '@muster/contract';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { describe, expect, it, vi } from 'vitest';
import { curl, execute, muster, newToken, psql, publish } from './system.ts';
import { SystemOfFile } from './system-of-file.ts';

const system = new SystemOfFile();

/** An open stream, and what came over it. */
interface Listening {
  readonly messages: readonly EventSourceMessage[];
  readonly events: () => readonly FleetEvent[];
  readonly comments: readonly string[];
  /** The id that the stream has come to. */
  readonly known: () => string;
  /** Resolves when the server has ended the stream, or it broke. */
  readonly ended: Promise<'ended' | 'broken'>;
  readonly close: () => void;
}

async function listen(query: string, lastEventId?: string, token = system.address.api.token): Promise<Listening> {
  const abort = new AbortController();
  const answer = await fetch(`${system.address.api.url}/api/v1/events${query}`, {
    headers: {
      authorization: `Bearer ${token}`,
      ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
    },
    signal: abort.signal,
  });
  expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'text/event-stream']);
  const messages: EventSourceMessage[] = [];
  const comments: string[] = [];
  const parser = createParser({ onEvent: (event) => messages.push(event), onComment: (text) => comments.push(text) });
  const decoder = new TextDecoder();
  const sink = new WritableStream<Uint8Array>({
    write: (chunk) => parser.feed(decoder.decode(chunk, { stream: true })),
  });
  const ended = answer.body?.pipeTo(sink).then(
    () => 'ended' as const,
    () => 'broken' as const,
  );
  // Its first message says where it begins.
  await vi.waitFor(() => expect(messages.length).toBeGreaterThan(0), { timeout: 5_000 });
  return {
    messages,
    comments,
    events: () =>
      messages
        .filter(({ event }) => event !== 'position' && event !== 'reset')
        .map(({ data }) => eventSchema.parse(JSON.parse(data))),
    known: () => messages.findLast(({ id }) => id !== undefined)?.id ?? '',
    ended: ended ?? Promise.resolve('broken'),
    close: () => abort.abort(),
  };
}

async function status(device: string, payload: string): Promise<void> {
  await publish(system.address, '-q', '1', '-r', '-t', `devices/${device}/status`, '-m', payload);
}

async function registryAnswers(): Promise<void> {
  await vi.waitFor(async () => expect((await curl(system.address, '/readyz')).status).toBe(200), {
    timeout: 30_000,
    interval: 200,
  });
}

describe('the stream of events', () => {
  it('tells a change of presence within a second of the message, with its reason', async () => {
    const stream = await listen('?kind=presence&kind=device&device=sensor1');
    await status('sensor1', 'online');
    await vi.waitFor(() => expect(stream.events()).toHaveLength(2), { timeout: 1_500, interval: 20 });
    await status('sensor1', 'offline');
    await status('other', 'online');
    await vi.waitFor(() => expect(stream.events()).toHaveLength(3), { timeout: 1_500, interval: 20 });
    expect(stream.events()).toMatchObject([
      { kind: 'device', device: 'sensor1', data: { change: 'discovered' } },
      { kind: 'presence', device: 'sensor1', data: { from: 'unknown', to: 'online', reason: 'birth' } },
      {
        ...{ kind: 'presence', device: 'sensor1' },
        data: {
          ...{ from: 'online', to: 'lost', reason: 'will', broker: 'mosquitto-0' },
          explanation: expect.stringContaining('the connection broke') as string,
        },
      },
    ]);
    for (const { id, event, data } of stream.messages.slice(1))
      expect(JSON.parse(data)).toMatchObject({ id, kind: event });
    stream.close();
  });

  it('tells what operators do: a device that is registered, changed and decommissioned', async () => {
    const stream = await listen('?device=porch&kind=device&kind=decommission');
    await status('porch', 'online');
    await vi.waitFor(() => expect(stream.events()).toHaveLength(1), { timeout: 3_000 });
    for (const name of ['Porch', 'Back porch'])
      await curl(system.address, '/api/v1/devices/porch', '-X', 'PATCH', '--json', JSON.stringify({ name }));
    const report = await curl(system.address, '/api/v1/devices/porch/decommission', '-X', 'POST');
    expect(report).toMatchObject({
      status: 200,
      body: { state: expect.stringMatching(/^(verified|done)$/) as string },
    });
    await vi.waitFor(() => expect(stream.events()).toHaveLength(8), { timeout: 15_000 });
    expect(
      stream.events().map(({ kind, data }) => [kind, 'change' in data ? data.change : 'state' in data && data.state]),
    ).toEqual([
      ['device', 'discovered'],
      ['device', 'registered'],
      ['device', 'changed'],
      ['device', 'decommissioning'],
      ['decommission', 'incomplete'],
      ['decommission', 'verified'],
      ['device', 'decommissioned'],
      ['decommission', 'done'],
    ]);
    stream.close();
  });

  it(
    'goes on where it was when the registry is killed with -9: nothing is missing and nothing comes twice',
    { timeout: 120_000 },
    async () => {
      const sent: string[] = [];
      const end = new AbortController();
      const sending = (async () => {
        for (let turn = 0; !end.signal.aborted; turn += 1) {
          sent.push(`steady-${turn}`);
          await status(`steady-${turn}`, 'online');
        }
      })();
      const told: FleetEvent[] = [];
      let known: string | undefined;
      for (let death = 0; death < 2; death += 1) {
        const stream = await listen('?kind=presence', known);
        await delay(1_500);
        process.kill(system.pidOf('registry'), 'SIGKILL');
        expect(await stream.ended).toBe('broken');
        told.push(...stream.events());
        known = stream.known();
        await registryAnswers();
      }
      end.abort();
      await sending;
      const rest = await listen('?kind=presence', known);
      await vi.waitFor(() => expect(rest.events().at(-1)?.device).toBe(sent.at(-1)), { timeout: 10_000 });
      told.push(...rest.events());
      rest.close();
      const steady = told.flatMap(({ device }) => (device?.startsWith('steady-') === true ? [device] : []));
      expect(steady.length).toBeGreaterThan(20);
      expect(steady).toEqual(sent);
      expect(new Set(told.map(({ id }) => id)).size).toBe(told.length);
    },
  );

  it('says that it cannot go on, and begins now, for an event that is too old, or was never there', async () => {
    await status('ageing', 'online');
    const stream = await listen('');
    await status('ageing', 'offline');
    await vi.waitFor(() => expect(stream.events().at(-1)?.device).toBe('ageing'), { timeout: 3_000 });
    const old = stream.known();
    await status('ageing', 'online');
    await vi.waitFor(() => expect(stream.events().at(-1)?.id).not.toBe(old), { timeout: 3_000 });
    stream.close();
    await psql(system.address, `UPDATE event SET at = at - interval '25 hours' WHERE id <= ${old.split('-')[1] ?? ''}`);
    for (const id of [old, '1-1', 'nonsense', '']) {
      const again = await listen('', id);
      const [first] = again.messages;
      expect([id, first?.event]).toEqual([id, id === '' ? 'position' : 'reset']);
      if (id !== '') expect(first?.data).toContain('read everything anew');
      await status('ageing', 'offline');
      await status('ageing', 'online');
      await vi.waitFor(() => expect(again.events().at(-1)?.device).toBe('ageing'), { timeout: 3_000 });
      again.close();
    }
    expect(await curl(system.address, '/api/v1/events?after=nonsense')).toMatchObject({ status: 422 });
    expect(await curl(system.address, '/api/v1/events?kind=weather')).toMatchObject({ status: 422 });
    expect(await curl(system.address, '/api/v1/events?device=a%2Fb')).toMatchObject({ status: 422 });
  });

  it('lets a reader go that reads nothing, and keeps the others', { timeout: 120_000 }, async () => {
    const open = async (): Promise<number> =>
      Number(
        (await execute('curl', ['-s', `${system.address.api.url}/metrics`])).stdout.match(
          /muster_registry_open_streams\{[^}]*\} (\d+)/,
        )?.[1],
      );
    const before = await open();
    const { hostname, port } = new URL(system.address.api.url);
    const stuck = connect(Number(port), hostname);
    stuck.write(
      `GET /api/v1/events HTTP/1.1\r\nHost: ${hostname}:${port}\r\nAuthorization: Bearer ${system.address.api.token}\r\n\r\n`,
    );
    // Its buffer fills, and then nothing is taken any more.
    stuck.pause();
    const reader = await listen('?kind=incident');
    await vi.waitFor(async () => expect(await open()).toBe(before + 2), { timeout: 5_000 });
    await psql(
      system.address,
      `INSERT INTO event (kind, data) SELECT 'incident', jsonb_build_object('broker', repeat('x', 4000), 'kind', 'lost', 'devices', n) FROM generate_series(1, 8000) AS n`,
    );
    await vi.waitFor(() => expect(reader.messages.length).toBeGreaterThanOrEqual(8_000), { timeout: 30_000 });
    await vi.waitFor(async () => expect(await open()).toBe(before + 1), { timeout: 40_000, interval: 500 });
    expect(reader.events().map(({ data }) => 'devices' in data && data.devices)).toEqual(
      Array.from({ length: 8_000 }, (_, index) => index + 1),
    );
    reader.close();
    stuck.destroy();
  });

  it('ends when its token is revoked, and /live does too', { timeout: 60_000 }, async () => {
    const { id, token } = await newToken(system.address, 'reader', 'viewer');
    const stream = await listen('', undefined, token);
    const live = await fetch(`${system.address.api.url}/api/v1/live`, {
      headers: { authorization: `Bearer ${token}` },
    });
    const liveEnded = live.body?.pipeTo(new WritableStream());
    expect((await curl(system.address, `/api/v1/tokens/${id}`, '-X', 'DELETE')).status).toBe(200);
    const revokedMs = Date.now();
    expect(await stream.ended).toBe('ended');
    await liveEnded;
    expect(Date.now() - revokedMs).toBeLessThan(17_000);
    expect(stream.comments.at(-1)).toContain('revoked');
  });

  it(
    'is a command: muster events prints a line each, and goes on by itself when the registry comes back',
    { timeout: 60_000 },
    async () => {
      const child = spawn('node', ['apps/cli/dist/main.js', 'events', '--kind', 'presence', '--device', 'by-cli'], {
        env: { ...process.env, MUSTER_URL: system.address.api.url, MUSTER_TOKEN: system.address.api.token },
      });
      let [stdout, stderr] = ['', ''];
      child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
      child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
      const code = new Promise((resolve) => child.on('exit', resolve));
      await vi.waitFor(
        async () => {
          await status('by-cli', 'offline');
          await status('by-cli', 'online');
          expect(stdout).toMatch(/presence +by-cli: \w+ -> online \(birth, mosquitto-0\): The device said/);
        },
        { timeout: 10_000, interval: 300 },
      );
      process.kill(system.pidOf('registry'), 'SIGKILL');
      await vi.waitFor(() => expect(stderr).toContain('trying again in'), { timeout: 5_000 });
      await status('by-cli', '{"status":"offline","reason":"update"}');
      await vi.waitFor(() => expect(stdout).toContain('online -> offline (update'), { timeout: 20_000 });
      child.kill('SIGINT');
      expect(await code).toBe(0);
      expect(await muster(system.address, 'events', '--after', 'x')).toMatchObject({
        code: 2,
        stderr: expect.stringContaining('expected the id of an event') as string,
      });
    },
  );
});

it('streams end in order when everything stops', async () => {
  const stream = await listen('');
  const [{ code }, ended] = await Promise.all([system.started.stop(), stream.ended]);
  expect([code, ended]).toEqual([0, 'ended']);
  expect(stream.comments.at(-1)).toContain('the service stops');
});
