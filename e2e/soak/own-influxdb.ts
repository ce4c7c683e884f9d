import path from 'node:path';
import {
  freePort,
  influxdbSource,
  startInfluxdb,
  type EngineSource,
  type InfluxdbPlan,
  type ManagedProcess,
} from '@muster/engines';
import { stateFolder } from '../system.ts';

const STOP_LIMIT_MS = 30_000;

/** How InfluxDB is away: nobody listens, or who listens never answers. */
export type Absence = 'stopped' | 'frozen';

/** An InfluxDB that the system does not supervise, so that it is away for as long as a scenario wants. */
export class OwnInfluxdb {
  #process: ManagedProcess;

  private constructor(
    private readonly plan: InfluxdbPlan,
    private readonly source: EngineSource,
    process: ManagedProcess,
  ) {
    this.#process = process;
  }

  /** Starts it; whatever system is started afterwards uses it. */
  static async start(): Promise<OwnInfluxdb> {
    const folder = stateFolder();
    const plan = {
      ...{ folder: path.join(folder, 'data'), logFile: path.join(folder, 'log'), port: await freePort() },
      ...{ database: 'muster', username: 'muster', password: 'long-runs-only' },
    };
    const source = await influxdbSource('auto', (line) => void process.stderr.write(`${line}\n`));
    const started = await startInfluxdb(plan, source);
    process.env['MUSTER_INFLUXDB_URL'] = `http://127.0.0.1:${plan.port}`;
    process.env['MUSTER_INFLUXDB_USERNAME'] = plan.username;
    process.env['MUSTER_INFLUXDB_PASSWORD'] = plan.password;
    return new OwnInfluxdb(plan, source, started);
  }

  get url(): string {
    return `http://127.0.0.1:${this.plan.port}`;
  }

  async leave(absence: Absence): Promise<void> {
    if (absence === 'stopped') await this.stop();
    else if (this.source.kind === 'image') throw new Error('to freeze InfluxDB takes influxd in PATH');
    else process.kill(this.#process.identity.pid, 'SIGSTOP');
  }

  async comeBack(absence: Absence): Promise<void> {
    if (absence === 'stopped') this.#process = await startInfluxdb(this.plan, this.source);
    else process.kill(this.#process.identity.pid, 'SIGCONT');
  }

  async stop(): Promise<void> {
    await this.#process.stop(STOP_LIMIT_MS);
  }
}
