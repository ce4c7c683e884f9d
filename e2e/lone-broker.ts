import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  freePort,
  mosquittoSource,
  startMosquitto,
  type BrokerTls,
  type ManagedProcess,
  type MosquittoPlan,
} from '@muster/engines';
import { execute } from './system.ts';

const account = { username: 'watcher', password: 'end-to-end-tests-only' };

/** A Mosquitto with one account and no service of Muster beside it. */
export class LoneBroker {
  readonly url: string;
  readonly account = account;
  /** What tells `muster watch` the account. */
  readonly environment = { MUSTER_BROKER_USERNAME: account.username, MUSTER_BROKER_PASSWORD: account.password };
  readonly #plan: MosquittoPlan;
  #process: ManagedProcess;

  private constructor(plan: MosquittoPlan, process: ManagedProcess) {
    this.#plan = plan;
    this.#process = process;
    this.url = `${plan.tls === undefined ? 'mqtt' : 'mqtts'}://127.0.0.1:${plan.port}`;
  }

  /** @param settings lines of mosquitto.conf that stand after ours */
  static async start(tls?: BrokerTls, settings: readonly string[] = []): Promise<LoneBroker> {
    const folder = mkdtempSync(path.join(tmpdir(), 'muster-broker-'));
    const plan: MosquittoPlan = {
      ...{ name: 'mosquitto-0', folder: path.join(folder, 'data'), logFile: path.join(folder, 'log') },
      ...{ port: await freePort(), account, settings, ...(tls === undefined ? {} : { tls }) },
    };
    return new LoneBroker(plan, await LoneBroker.#run(plan));
  }

  /** A program nobody here wrote and its arguments, with the address and the account. */
  client(program: string, ...args: readonly string[]): readonly [string, string[]] {
    const login = ['-h', '127.0.0.1', '-p', String(this.#plan.port), '-u', account.username, '-P', account.password];
    return [program, [...login, ...args]];
  }

  /** Publishes with mosquitto_pub. */
  async publish(topic: string, payload: string, ...args: readonly string[]): Promise<void> {
    const { code, stderr } = await execute(...this.client('mosquitto_pub', '-t', topic, '-m', payload, ...args));
    if (code !== 0) throw new Error(`mosquitto_pub: ${stderr}`);
  }

  get port(): number {
    return this.#plan.port;
  }

  /** Has it write its sessions to disk, for the first time. */
  async save(): Promise<void> {
    process.kill(this.#process.identity.pid, 'SIGUSR1');
    while (!existsSync(path.join(this.#plan.folder, 'mosquitto.db'))) await delay(10);
  }

  /** Takes its power away. */
  async kill(): Promise<void> {
    process.kill(this.#process.identity.pid, 'SIGKILL');
    await this.#process.ended;
  }

  /** Starts it again, at the same address. */
  async startAgain(): Promise<void> {
    this.#process = await LoneBroker.#run(this.#plan);
  }

  async stop(): Promise<void> {
    await this.#process.stop(5_000);
  }

  static async #run(plan: MosquittoPlan): Promise<ManagedProcess> {
    return startMosquitto(plan, await mosquittoSource('auto', () => undefined));
  }
}
