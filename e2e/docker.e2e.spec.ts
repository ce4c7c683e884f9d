import { mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { dockerClient } from '@muster/engines';
import { describe, expect, it, vi } from 'vitest';
import {
  curl,
  execute,
  influxql,
  missingProgram,
  psql,
  publish,
  StartedSystem,
  stateFolder,
  whenUptimeIsKnown,
  type Finished,
} from './system.ts';

const MUSTER_IMAGE = process.env['MUSTER_IMAGE'] ?? 'muster/muster:0.1.0';
const BASE_IMAGE = 'node:24-bookworm-slim';
const ENGINES = ['eclipse-mosquitto:2', 'postgres:17', 'influxdb:2.7'];
/** What the image may add to its base, in bytes. */
const MAX_ADDED = 60_000_000;
const docker = dockerClient();
const reason = await whyNot(...ENGINES);
const noImage = await whyNot(MUSTER_IMAGE, BASE_IMAGE);
const noCompose = (await whyNot(MUSTER_IMAGE, ...ENGINES)) ?? missingProgram('docker-compose');

/** Why what needs these images cannot be tried; undefined where it can, and where CI says that it must. */
async function whyNot(...images: readonly string[]): Promise<string | undefined> {
  if (process.env['CI'] === 'true' && process.env['MUSTER_DOCKER_IMAGES'] !== undefined) return undefined;
  if (docker === undefined) return 'no Docker engine answers';
  const answers = await Promise.all(images.map((image) => execute(docker, ['image', 'inspect', image])));
  const missing = images.filter((_, index) => answers[index]?.code !== 0);
  return missing.length === 0 ? undefined : `these images are not loaded: ${missing.join(', ')}`;
}

async function dockerCommand(...args: readonly string[]): Promise<Finished> {
  return execute(docker ?? 'docker', args, 120_000);
}

async function containers(): Promise<readonly string[]> {
  const { stdout } = await execute(docker ?? 'docker', [
    'ps',
    '--all',
    '--format',
    '{{.Names}}',
    '--filter',
    'name=muster-',
  ]);
  return stdout.split('\n').filter((name) => name !== '');
}

describe.skipIf(reason !== undefined)(
  `engines in containers${reason === undefined ? '' : ` (skipped: ${reason})`}`,
  () => {
    it('run like local ones: telemetry arrives, state stays for the next start, nothing is left behind', async () => {
      const dir = stateFolder();
      const args = ['--engines', 'docker', '--devices', '0', '--dir', dir];
      const first = await StartedSystem.start(args);
      expect(await containers()).toHaveLength(3);
      await publish(first.address, '-q', '1', '-t', 'devices/boxed/telemetry', '-m', '{"temp":21}');
      await publish(first.address, '-q', '1', '-r', '-t', 'devices/boxed/status', '-m', 'online');
      await vi.waitFor(
        async () =>
          expect((await curl(first.address, '/api/v1/devices/boxed')).body).toMatchObject({
            readings: { temp: { value: 21 } },
          }),
        { timeout: 8_000 },
      );
      await whenUptimeIsKnown(first.address);
      expect((await first.stop()).code).toBe(0);
      expect(await containers()).toEqual([]);

      const second = await StartedSystem.start(args);
      // Its broker was started anew, and the device has not connected to it yet.
      expect(await psql(second.address, `SELECT reason FROM presence WHERE device = 'boxed'`)).toBe('broker-restarted');
      expect(await influxql(second.address, `SELECT temp FROM telemetry WHERE time > now() - 1h`)).toContain(',21]');
      const holder = JSON.parse(readFileSync(path.join(dir, 'lock'), 'utf8')) as { pid: number };
      process.kill(holder.pid, 'SIGKILL');
      await second.ended;
      await vi.waitFor(async () => expect(await containers()).toEqual([]), { timeout: 15_000, interval: 250 });
    }, 120_000);
  },
);

describe.skipIf(noImage !== undefined)(`the image${noImage === undefined ? '' : ` (skipped: ${noImage})`}`, () => {
  interface Image {
    readonly Size: number;
    readonly Config: {
      readonly User: string;
      readonly Entrypoint: readonly string[];
      readonly Healthcheck: { readonly Test: readonly string[] };
    };
  }
  const inspect = async (image: string): Promise<Image> => {
    const [found] = JSON.parse((await dockerCommand('image', 'inspect', image)).stdout) as readonly Image[];
    if (found === undefined) throw new Error(`there is no image ${image}`);
    return found;
  };
  const run = (...args: readonly string[]): Promise<Finished> =>
    dockerCommand('run', '--rm', '--read-only', '--cap-drop', 'ALL', '--network', 'none', ...args);

  it('adds less than 60 MB to its base, is nobody special, and knows whether it is well', async () => {
    const [image, base] = await Promise.all([inspect(MUSTER_IMAGE), inspect(BASE_IMAGE)]);
    expect(image.Size - base.Size).toBeLessThan(MAX_ADDED);
    expect(image.Config).toMatchObject({
      User: 'node',
      Healthcheck: { Test: expect.arrayContaining(['healthcheck']) },
    });
  });

  it('has source maps beside every file of code', async () => {
    const { stdout } = await run('--entrypoint', 'ls', MUSTER_IMAGE, '/app');
    const files = stdout.split('\n');
    for (const app of ['agent', 'alerting', 'automation', 'cli', 'ingestion', 'presence', 'registry'])
      expect(files).toContain(`${app}.js.map`);
  });

  it.each(['agent', 'ingestion', 'presence', 'automation', 'alerting', 'registry'])(
    'runs %s with a root that cannot be written, and what it misses is one line',
    async (app) => {
      const { code, stdout, stderr } = await run(MUSTER_IMAGE, app);
      expect([code, stderr]).toEqual([1, '']);
      expect(JSON.parse(stdout)).toMatchObject({ level: 'fatal', service: app, code: 'configuration' });
    },
  );

  it('says what it can run where it is asked for something else', async () => {
    expect(await run(MUSTER_IMAGE, 'everything')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining(
        'usage: muster agent | ingestion | presence | automation | alerting | registry | cli',
      ),
    });
    expect(await run(MUSTER_IMAGE, 'cli', '--help')).toMatchObject({ code: 0 });
  });

  it('is not healthy where nothing listens', async () => {
    expect(await run(MUSTER_IMAGE, 'healthcheck')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('not healthy'),
    });
  });
});

describe.skipIf(noCompose !== undefined)(
  `docker-compose.yaml${noCompose === undefined ? '' : ` (skipped: ${noCompose})`}`,
  () => {
    it('brings the system up: a device publishes over TLS and REST answers, all in containers', async () => {
      const file = path.join(mkdtempSync(path.join(tmpdir(), 'muster-compose-')), 'env');
      const made = await execute('sh', ['docker/make-env', file]);
      expect([made.code, statSync(file).mode & 0o777]).toEqual([0, 0o600]);
      expect((await execute('sh', ['docker/make-env', file])).stderr).toContain('nothing was changed');
      const environment = readFileSync(file, 'utf8');
      // The test's own project and nobody's names: the network of this machine is not asked for any.
      writeFileSync(
        file,
        `${environment.replace(/^DEVICE_HOST=.*$/m, 'DEVICE_HOST=mosquitto')}MUSTER_IMAGE=${MUSTER_IMAGE}\n`,
      );
      const compose = (...args: readonly string[]): Promise<Finished> =>
        execute('docker-compose', ['-p', 'muster-test', '--env-file', file, ...args], 240_000);
      try {
        // Grafana is the one image that may not be at hand.
        const up = await compose(
          'up',
          '--detach',
          '--no-build',
          'agent',
          'ingestion',
          'presence',
          'automation',
          'alerting',
          'registry',
          'influxdb',
        );
        expect(up.code, up.stderr).toBe(0);
        const verify = await compose(
          ...['run', '--rm', '-T', '-e', 'MUSTER_URL=http://registry:8080', '-e', `MUSTER_TOKEN=${token(environment)}`],
          ...['-v', 'muster-test_authority:/tls:ro', 'registry', 'cli', 'verify', '--ca', '/tls/ca.crt'],
        );
        expect(verify.code, `${verify.stdout}${verify.stderr}`).toBe(0);
        expect(verify.stdout).toMatch(/is connected over TLS[\s\S]*is decommissioned: verified/);
      } finally {
        await compose('down', '--volumes', '--remove-orphans', '--timeout', '10');
      }
    }, 400_000);
  },
);

function token(environment: string): string {
  return /^ADMIN_TOKEN=(.*)$/m.exec(environment)?.[1] ?? '';
}
