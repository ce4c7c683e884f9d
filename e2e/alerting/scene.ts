import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Alert, AlertPage } from '@muster/contract';
import { freePort, mosquittoSource, startMosquitto, type ManagedProcess, type MosquittoPlan } from '@muster/engines';
import mqtt, { type MqttClient } from 'mqtt';
import { curl, muster, StartedSystem, type ReadyLine } from '../system.ts';
import { Alertmanager, HookServer, Mailbox, type HookNotification } from './receivers.ts';

const ACCOUNT = { username: 'muster', password: 'alerting-tests-only' };

/** How long a broker that was started again gives devices to come back. */
export const GRACE_SECONDS = 12;

/** Groups in these tests are told after one second, and again after two: by then nothing more is to come. */
export const SETTLED_MS = 5_000;

/** Few enough to be filled by a test. */
const MAX_CONNECTIONS = 50;

function receiversYaml(hook: HookServer, mailbox: Mailbox, alertmanager: Alertmanager): string {
  return `receivers:
  - name: hook
    type: webhook
    url: http://127.0.0.1:${hook.port}/hook
    secret: \${ALERTING_TEST_SECRET}
    group_wait: 1s
    group_interval: 2s
  - name: storm
    type: webhook
    url: http://127.0.0.1:${hook.port}/hook
    secret: \${ALERTING_TEST_SECRET}
    match: { device: 'storm-*' }
  - name: mail
    type: email
    from: muster@example.org
    to: [ops@example.org]
    host: 127.0.0.1
    port: ${mailbox.port}
    security: none
    group_wait: 1s
    group_interval: 2s
  - name: router
    type: alertmanager
    url: ${alertmanager.url}
    resend: 10s
`;
}

/** A started system whose broker has room for few connections, and real receivers around it. */
export class AlertingScene {
  readonly clients: MqttClient[] = [];

  private constructor(
    readonly folder: string,
    readonly hook: HookServer,
    readonly mailbox: Mailbox,
    readonly alertmanager: Alertmanager,
    readonly system: StartedSystem,
    private readonly plans: readonly MosquittoPlan[],
    private readonly brokers: ManagedProcess[],
  ) {}

  static async start(): Promise<AlertingScene> {
    const folder = mkdtempSync(path.join(tmpdir(), 'muster-alerting-'));
    const secret = `whsec_${randomBytes(32).toString('base64')}`;
    const hook = new HookServer(await freePort(), secret);
    await hook.start();
    const mailbox = new Mailbox(await freePort());
    await mailbox.start();
    const alertmanager = await Alertmanager.start(folder, `http://127.0.0.1:${hook.port}/alertmanager`);
    const file = path.join(folder, 'receivers.yaml');
    writeFileSync(file, receiversYaml(hook, mailbox, alertmanager));
    const plan = async (name: string, settings: readonly string[]): Promise<MosquittoPlan> => ({
      name,
      folder: path.join(folder, name),
      logFile: path.join(folder, `${name}.log`),
      port: await freePort(),
      account: ACCOUNT,
      maxConnections: MAX_CONNECTIONS,
      settings: ['sys_interval 1', ...settings],
    });
    const plans = [await plan('mosquitto-0', []), await plan('mosquitto-1', ['max_queued_messages 100'])];
    const source = await mosquittoSource('local', () => undefined);
    const brokers = await Promise.all(plans.map((one) => startMosquitto(one, source)));
    Object.assign(process.env, {
      MUSTER_BROKERS: plans.map(({ name, port }) => `${name}=mqtt://127.0.0.1:${port}`).join(','),
      MUSTER_BROKER_USERNAME: ACCOUNT.username,
      MUSTER_BROKER_PASSWORD: ACCOUNT.password,
      MUSTER_BROKER_MAX_CONNECTIONS: String(MAX_CONNECTIONS),
      MUSTER_BROKER_GRACE_SECONDS: String(GRACE_SECONDS),
      MUSTER_ALERTING_RECEIVERS: file,
      ALERTING_TEST_SECRET: secret,
    });
    const system = await StartedSystem.start(['--devices', '0', '--dir', path.join(folder, 'state')]);
    return new AlertingScene(folder, hook, mailbox, alertmanager, system, plans, brokers);
  }

  get address(): ReadyLine {
    return this.system.address;
  }

  async stop(): Promise<void> {
    await Promise.all(this.clients.map((client) => client.endAsync(true)));
    await this.system.stop();
    await Promise.all([this.hook.stop(), this.mailbox.stop(), this.alertmanager.stop()]);
    await Promise.all(this.brokers.map((broker) => broker.stop(5_000)));
    rmSync(this.folder, { recursive: true });
  }

  /** A client at the broker; with an id it is a device that is online and has a will. */
  async connect(device?: string, broker = 0): Promise<MqttClient> {
    const topic = `devices/${device ?? ''}/status`;
    const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${this.#plan(broker).port}`, {
      ...ACCOUNT,
      reconnectPeriod: 200,
      ...(device === undefined
        ? {}
        : { clientId: device, will: { topic, payload: Buffer.from('offline'), qos: 1, retain: true } }),
    });
    client.on('error', () => undefined);
    if (device !== undefined) {
      const birth = (): void => void client.publish(topic, 'online', { qos: 1, retain: true });
      birth();
      client.on('connect', birth);
    }
    this.clients.push(client);
    return client;
  }

  /** A reading of a device, published by a client for it. */
  async temperature(client: MqttClient, device: string, value: number): Promise<void> {
    await client.publishAsync(`devices/${device}/telemetry`, JSON.stringify({ temp: value }), { qos: 1 });
  }

  /** What the webhook was told about a subject. */
  hooked(subject: string): readonly HookNotification[] {
    return this.hook.notifications.filter(
      ({ data }) => data.receiver === 'hook' && data.alerts.some((alert) => alert.subject === subject),
    );
  }

  /** Ends alerting, and waits until it answers again. */
  async restartAlerting(signal: NodeJS.Signals): Promise<void> {
    const restarts = (): readonly Readonly<Record<string, unknown>>[] =>
      this.system.events.filter(({ event, name }) => event === 'restarted' && name === 'alerting');
    const before = restarts();
    process.kill(Number(before.at(-1)?.['pid'] ?? this.address.pids['alerting']), signal);
    for (let attempt = 0; attempt < 300; attempt += 1) {
      if (restarts().length > before.length && (await curl(this.address, '/api/v1/receivers')).status === 200) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error('alerting did not come back within 30 s');
  }

  /** Ends the first broker as an operator does, and starts it again. */
  async stopBroker(): Promise<void> {
    await this.brokers[0]?.stop(5_000);
  }

  async startBroker(): Promise<void> {
    this.brokers[0] = await startMosquitto(this.#plan(0), await mosquittoSource('local', () => undefined));
  }

  /** Puts rules in force with `muster alert rule apply`. */
  async apply(yaml: string): Promise<void> {
    const file = path.join(this.folder, 'rules.yaml');
    writeFileSync(file, yaml);
    const { code, stderr } = await muster(this.address, 'alert', 'rule', 'apply', '-f', file);
    if (code !== 0) throw new Error(stderr);
  }

  /** Alerts of the REST API. */
  async alerts(query = ''): Promise<readonly Alert[]> {
    const { body } = await curl(this.address, `/api/v1/alerts?limit=1000&${query}`);
    return (body as AlertPage).items;
  }

  /** Waits until an alert is in a state; answers it. */
  async alert(rule: string, subject: string, state: Alert['state'], limitMs = 15_000): Promise<Alert> {
    const deadline = Date.now() + limitMs;
    for (;;) {
      const found = (await this.alerts(`rule=${rule}&subject=${subject}&state=${state}`))[0];
      if (found !== undefined) return found;
      if (Date.now() > deadline) throw new Error(`${rule} ${subject} is not ${state} within ${limitMs} ms`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  #plan(broker: number): MosquittoPlan {
    const plan = this.plans[broker];
    if (plan === undefined) throw new Error(`there is no broker ${broker}`);
    return plan;
  }
}
