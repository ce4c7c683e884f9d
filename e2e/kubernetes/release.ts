import { spawn, type ChildProcess } from 'node:child_process';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '@muster/engines';
import { execute, type Finished } from '../system.ts';

const CHART = path.join(import.meta.dirname, '../../charts/muster');
const RESTART_MS = 200;

/** A port of this machine that leads to a service of the cluster, also after the pod behind it was another one. */
export class Forward {
  readonly port: number;
  readonly #args: readonly string[];
  #child: ChildProcess | undefined;
  #stopped = false;

  private constructor(port: number, args: readonly string[]) {
    this.port = port;
    this.#args = args;
    this.#run();
  }

  /** Begins to forward to a service's port. */
  static async to(namespace: string, service: string, servicePort: number): Promise<Forward> {
    const port = await freePort();
    return new Forward(port, ['port-forward', '-n', namespace, `svc/${service}`, `${port}:${servicePort}`]);
  }

  /** Ends it. */
  stop(): void {
    this.#stopped = true;
    this.#child?.kill();
  }

  /** A forward ends with its pod: the next one finds the next pod. */
  #run(): void {
    if (this.#stopped) return;
    this.#child = spawn('kubectl', this.#args, { stdio: 'ignore' });
    this.#child.on('exit', () => setTimeout(() => this.#run(), RESTART_MS));
  }
}

/** A Helm release of the chart in a namespace of its own. */
export class Release {
  readonly #forwards = new Map<string, Forward>();
  #token = '';

  constructor(
    readonly name: string,
    readonly namespace: string,
    /** `repository:tag` of the image, as the nodes have it. */
    private readonly image: string,
  ) {}

  /** The name of the release's things. */
  get fullName(): string {
    return `${this.name}-muster`;
  }

  /** kubectl in the namespace; throws for an exit code. */
  async kubectl(...args: readonly string[]): Promise<string> {
    return successful(await execute('kubectl', ['-n', this.namespace, ...args], 300_000), `kubectl ${args.join(' ')}`);
  }

  /** helm install or upgrade, which waits until everything is ready. */
  async helm(verb: 'install' | 'upgrade', ...settings: readonly string[]): Promise<Finished> {
    const [repository, tag] = this.image.split(':');
    return execute(
      'helm',
      [
        ...[verb, this.name, CHART, '-n', this.namespace, '--create-namespace', '--wait', '--timeout', '5m'],
        ...['-f', path.join(CHART, 'ci/two-brokers-values.yaml')],
        ...['--set', `image.repository=${repository ?? ''}`, '--set', `image.tag=${tag ?? ''}`],
        ...settings.flatMap((setting) => ['--set', setting]),
      ],
      330_000,
    );
  }

  /** A value of the secret with the passwords. */
  async secret(key: string, secret = `${this.fullName}-secrets`): Promise<string> {
    const text = await this.kubectl('get', 'secret', secret, '-o', 'json');
    const { data } = JSON.parse(text) as { readonly data: Readonly<Record<string, string>> };
    return Buffer.from(data[key] ?? '', 'base64').toString('utf8');
  }

  /** A port of this machine for a service. */
  async forward(service: string, port: number): Promise<number> {
    const known = this.#forwards.get(service);
    if (known !== undefined) return known.port;
    const forward = await Forward.to(this.namespace, service, port);
    this.#forwards.set(service, forward);
    return forward.port;
  }

  /** An answer of the REST API with the first token; waits while the registry is away. */
  async rest(method: string, route: string): Promise<{ readonly status: number; readonly body: unknown }> {
    const port = await this.forward(`${this.fullName}-registry`, 80);
    if (this.#token === '') this.#token = await this.secret('admin-token');
    for (let attempt = 0; ; attempt += 1) {
      try {
        const answer = await fetch(`http://127.0.0.1:${port}/api/v1${route}`, {
          method,
          headers: { authorization: `Bearer ${this.#token}` },
          signal: AbortSignal.timeout(15_000),
        });
        return { status: answer.status, body: await answer.json() };
      } catch (error) {
        if (attempt >= 60)
          throw new Error(`the API did not answer to ${method} ${route} for a minute`, { cause: error });
        await delay(1_000);
      }
    }
  }

  /** The rows that InfluxDB answers to a query, as text. */
  async influxql(query: string): Promise<string> {
    const port = await this.forward(`${this.fullName}-influxdb`, 8086);
    const token = await this.secret('influxdb-token');
    const url = `http://127.0.0.1:${port}/query?db=muster&epoch=ms&q=${encodeURIComponent(query)}`;
    const authorization = `Basic ${Buffer.from(`muster:${token}`).toString('base64')}`;
    return (await fetch(url, { headers: { authorization }, signal: AbortSignal.timeout(10_000) })).text();
  }

  /** What a person would look at first, when something went wrong. */
  async diagnosis(): Promise<string> {
    const parts = [
      ['get', 'pods', '-o', 'wide'],
      ['get', 'events', '--sort-by=.lastTimestamp'],
      ['logs', '-l', `app.kubernetes.io/instance=${this.name}`, '--all-containers', '--prefix', '--tail=30'],
    ];
    const texts = await Promise.all(parts.map((args) => execute('kubectl', ['-n', this.namespace, ...args], 60_000)));
    return texts.map(({ stdout, stderr }) => `${stdout}${stderr}`).join('\n');
  }

  /** Takes everything away, the namespace with it. */
  async remove(): Promise<void> {
    for (const forward of this.#forwards.values()) forward.stop();
    await execute('helm', ['uninstall', this.name, '-n', this.namespace, '--wait', '--timeout', '3m'], 200_000);
    await execute('kubectl', ['delete', 'namespace', this.namespace, '--wait', '--timeout=120s'], 130_000);
  }
}

/** The output of a command that succeeded. */
export function successful({ code, stdout, stderr }: Finished, what: string): string {
  if (code !== 0) throw new Error(`${what} ended with ${code}: ${stderr}${stdout}`);
  return stdout;
}
