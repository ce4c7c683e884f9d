import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { freePort, ManagedProcess } from '@muster/engines';
import { SMTPServer } from 'smtp-server';
import { Webhook } from 'standardwebhooks';

/** A notification of Muster's own webhook, as far as tests look. */
export interface HookNotification {
  readonly id: string;
  readonly type: string;
  readonly data: {
    readonly receiver: string;
    readonly status: string;
    readonly summary: string;
    readonly group: Readonly<Record<string, string>>;
    readonly firing: number;
    readonly omitted: number;
    readonly alerts: readonly { readonly rule: string; readonly subject: string; readonly status: string }[];
  };
}

/** A notification of Alertmanager's webhook, as far as tests look. */
export interface RoutedNotification {
  readonly status: string;
  readonly groupLabels: Readonly<Record<string, string>>;
  readonly alerts: readonly { readonly status: string; readonly labels: Readonly<Record<string, string>> }[];
}

function bodyOf(request: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => resolve(body));
    request.on('error', reject);
  });
}

/** A real HTTP server: Muster's webhook on /hook, whose signatures it verifies, and Alertmanager's on /alertmanager. */
export class HookServer {
  readonly notifications: HookNotification[] = [];
  readonly routed: RoutedNotification[] = [];
  /** Requests whose signature is not right. */
  readonly forged: string[] = [];
  readonly #webhook: Webhook;
  #server: Server | undefined;

  constructor(
    readonly port: number,
    secret: string,
  ) {
    this.#webhook = new Webhook(secret);
  }

  async start(): Promise<void> {
    const server = createServer((request, response) => void this.#take(request, response));
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.port, '127.0.0.1', resolve));
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await bodyOf(request);
    if (request.url === '/alertmanager') this.routed.push(JSON.parse(body) as RoutedNotification);
    else {
      try {
        this.#webhook.verify(body, request.headers as Record<string, string>);
      } catch (error) {
        this.forged.push(String(error));
      }
      const id = String(request.headers['webhook-id']);
      this.notifications.push({ ...(JSON.parse(body) as HookNotification), id });
    }
    response.writeHead(204).end();
  }
}

/** A mail as it arrived. */
export interface ReceivedMail {
  readonly to: readonly string[];
  readonly subject: string;
  readonly messageId: string;
  readonly text: string;
}

function header(text: string, name: string): string {
  const folded = new RegExp(`^${name}: ((?:.*)(?:\\r\\n[ \\t].*)*)`, 'im').exec(text)?.[1] ?? '';
  return folded.replace(/\r\n[ \t]+/g, ' ');
}

/** A real SMTP server with one mailbox. */
export class Mailbox {
  readonly mails: ReceivedMail[] = [];
  readonly #server: SMTPServer;

  constructor(readonly port: number) {
    this.#server = new SMTPServer({
      authOptional: true,
      disabledCommands: ['STARTTLS', 'AUTH'],
      onData: (stream, session, done) => {
        let text = '';
        stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
        stream.on('end', () => {
          this.mails.push({
            to: session.envelope.rcptTo.map(({ address }) => address),
            subject: header(text, 'subject'),
            messageId: header(text, 'message-id'),
            text,
          });
          done();
        });
      },
    });
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.port, '127.0.0.1', resolve));
  }

  async stop(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.close(resolve));
  }
}

/** A real Prometheus Alertmanager that tells a webhook what it makes of alerts. */
export class Alertmanager {
  private constructor(
    readonly url: string,
    private readonly process: ManagedProcess,
  ) {}

  static async start(folder: string, hook: string): Promise<Alertmanager> {
    const port = await freePort();
    const file = path.join(folder, 'alertmanager.yml');
    writeFileSync(
      file,
      `route:
  receiver: hook
  group_by: [alertname]
  group_wait: 1s
  group_interval: 2s
  repeat_interval: 4h
  routes:
    - { matchers: ['device=~"storm-.*"'], group_wait: 30s, group_interval: 5m, receiver: hook }
receivers:
  - { name: hook, webhook_configs: [{ url: '${hook}', send_resolved: true, max_alerts: 0 }] }
`,
    );
    const process = await ManagedProcess.start({
      name: 'alertmanager',
      command: 'prometheus-alertmanager',
      args: [
        `--config.file=${file}`,
        `--storage.path=${path.join(folder, 'alertmanager')}`,
        `--web.listen-address=127.0.0.1:${port}`,
        // Alone: it looks for no others.
        '--cluster.listen-address=',
      ],
      logFile: path.join(folder, 'alertmanager.log'),
    });
    const alertmanager = new Alertmanager(`http://127.0.0.1:${port}`, process);
    await alertmanager.#whenReady();
    return alertmanager;
  }

  /** Alerts that it holds for active. */
  async active(): Promise<readonly { readonly labels: Readonly<Record<string, string>> }[]> {
    const answer = await fetch(`${this.url}/api/v2/alerts?active=true`);
    return (await answer.json()) as { labels: Record<string, string> }[];
  }

  async stop(): Promise<void> {
    await this.process.stop(5_000);
  }

  async #whenReady(): Promise<void> {
    for (let attempt = 0; attempt < 200; attempt += 1) {
      const isReady = await fetch(`${this.url}/-/ready`).then(
        ({ ok }) => ok,
        () => false,
      );
      if (isReady) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error('Alertmanager was not ready within 10 s');
  }
}
