import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { connect as connectTls } from 'node:tls';
import { passwordHash, renderPasswordFile } from '@muster/security';
import { startContainer } from './docker.ts';
import { engineSource, type EngineSource, type EngineWay, type Progress } from './engine-source.ts';
import { startEngine } from './engine.ts';
import type { ManagedProcess } from './processes.ts';

/** Certificate and key of a broker, and of the authority behind them, as PEM. */
export interface BrokerTls {
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
}

/** Where a broker keeps its files, and who may use it. */
export interface MosquittoPlan {
  readonly name: string;
  readonly folder: string;
  readonly logFile: string;
  /** Where devices connect: their client id is their user name, whatever they say. */
  readonly port: number;
  /** Where services connect, each with as many client ids as it needs. */
  readonly servicePort?: number;
  readonly tls?: BrokerTls;
  /** One account for everything; without it the accounts are an agent's affair, and nobody gets in before it came. */
  readonly account?: { readonly username: string; readonly password: string };
  /** Whether any number of clients may use one account, each with a client id of its own. */
  readonly sharedAccount?: boolean;
  /** Connections that it lets in where devices connect; {@link MAX_CONNECTIONS} where it is left out. */
  readonly maxConnections?: number;
  /** Lines of mosquitto.conf that stand after ours. */
  readonly settings?: readonly string[];
}

/** Devices that one broker lets in: the chart's default too (docs/scaling.md). */
export const MAX_CONNECTIONS = 20_000;
/** Messages that it keeps for one client; the default of 1,000 loses QoS 1 silently in any outage (mqtt-pitfalls B1). */
export const MAX_QUEUED_MESSAGES = 1_000_000;
const MAX_SERVICE_CONNECTIONS = 200;
const IN_CONTAINER = '/mosquitto/muster';

/** The ports and the folder as the broker sees them, which differ in a container. */
interface BrokerView {
  readonly port: string;
  readonly servicePort: string | undefined;
  readonly folder: string;
}

function configuration(plan: MosquittoPlan, { port, servicePort, folder }: BrokerView): string {
  const listener = (address: string, maxConnections: number): readonly string[] => [
    `listener ${address}`,
    `max_connections ${maxConnections}`,
    ...(plan.tls === undefined
      ? []
      : [
          `cafile ${folder}/ca.crt`,
          `certfile ${folder}/server.crt`,
          `keyfile ${folder}/server.key`,
          'tls_version tlsv1.2',
        ]),
  ];
  return [
    ...listener(port, plan.maxConnections ?? MAX_CONNECTIONS),
    // Else a device could take over the session of another one, or of a service, by its client id.
    ...(plan.account === undefined && plan.sharedAccount !== true ? ['use_username_as_clientid true'] : []),
    ...(servicePort === undefined ? [] : listener(servicePort, MAX_SERVICE_CONNECTIONS)),
    // Without it Mosquitto, as root, becomes its own user, who may not enter our folder.
    ...(process.getuid?.() === 0 ? ['user root'] : []),
    'allow_anonymous false',
    `password_file ${folder}/passwords`,
    ...(plan.account === undefined ? [`acl_file ${folder}/acl`] : []),
    'persistence true',
    `persistence_location ${folder}/`,
    'autosave_interval 30',
    `max_queued_messages ${MAX_QUEUED_MESSAGES}`,
    'set_tcp_nodelay true',
    // Larger ones are of no use here and would be held in memory whole; the client is disconnected (B8).
    'max_packet_size 2097152',
    'log_dest stderr',
    'log_timestamp_format %Y-%m-%dT%H:%M:%S',
    ...(plan.settings ?? []),
    '',
  ].join('\n');
}

function writeFiles(plan: MosquittoPlan, view: BrokerView): void {
  const write = (name: string, text: string): void =>
    writeFileSync(path.join(plan.folder, name), text, { mode: 0o600 });
  write('mosquitto.conf', configuration(plan, view));
  if (plan.account !== undefined) {
    const { username, password } = plan.account;
    write('passwords', renderPasswordFile([{ username, passwordHash: passwordHash(password) }]));
  } else {
    // The broker goes on with what its agent gave it last; the first time nobody may enter yet.
    for (const name of ['passwords', 'acl']) if (!existsSync(path.join(plan.folder, name))) write(name, '');
  }
  if (plan.tls === undefined) return;
  write('ca.crt', plan.tls.ca);
  write('server.crt', plan.tls.certificate);
  write('server.key', plan.tls.key);
}

/** Where Mosquitto comes from. */
export async function mosquittoSource(way: EngineWay, onProgress: Progress): Promise<EngineSource> {
  return engineSource(
    { title: 'Mosquitto', program: 'mosquitto', debianPackage: 'mosquitto', urlVariable: 'MUSTER_BROKERS' },
    way,
    onProgress,
  );
}

/**
 * Starts a broker on the loopback interface. Its pid (or that of the client of its container, which passes signals on)
 * stands in the file `pid` of its folder, for an agent.
 * @throws EngineError
 */
export async function startMosquitto(plan: MosquittoPlan, source: EngineSource): Promise<ManagedProcess> {
  mkdirSync(plan.folder, { recursive: true, mode: 0o700 });
  const broker = await (source.kind === 'image'
    ? startAsContainer(plan, source.docker)
    : startAsProgram(plan, source.program));
  writeFileSync(path.join(plan.folder, 'pid'), String(broker.identity.pid));
  return broker;
}

async function startAsContainer(plan: MosquittoPlan, docker: string): Promise<ManagedProcess> {
  const servicePort = plan.servicePort === undefined ? undefined : '1884';
  writeFiles(plan, { port: '1883', servicePort, folder: IN_CONTAINER });
  return startContainer(
    docker,
    {
      ...{ name: plan.name, title: 'Mosquitto', image: 'eclipse-mosquitto:2', logFile: plan.logFile },
      ports: [
        { host: plan.port, container: 1883 },
        ...(plan.servicePort === undefined ? [] : [{ host: plan.servicePort, container: 1884 }]),
      ],
      volume: { host: plan.folder, container: IN_CONTAINER },
      environment: {},
      command: ['mosquitto', '-c', `${IN_CONTAINER}/mosquitto.conf`],
      stopSignal: 'SIGTERM',
    },
    () => brokerAnswers(plan),
  );
}

async function startAsProgram(plan: MosquittoPlan, program: string): Promise<ManagedProcess> {
  const servicePort = plan.servicePort === undefined ? undefined : `${plan.servicePort} 127.0.0.1`;
  writeFiles(plan, { port: `${plan.port} 127.0.0.1`, servicePort, folder: plan.folder });
  return startEngine(
    'Mosquitto',
    {
      name: plan.name,
      command: program,
      args: ['-c', path.join(plan.folder, 'mosquitto.conf')],
      logFile: plan.logFile,
    },
    plan.folder,
    () => brokerAnswers(plan),
  );
}

/** A minimal MQTT 3.1.1 CONNECT without an account: any broker answers it, if only to refuse. */
const CONNECT = Buffer.from([0x10, 0x0e, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 10, 0, 2, 0x6d, 0x30]);

/** Asks for a word of the broker itself: in front of a container a proxy accepts connections before anybody listens. */
async function brokerAnswers({ port, tls }: MosquittoPlan): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const socket = tls === undefined ? connect(port, '127.0.0.1') : connectTls({ port, host: '127.0.0.1', ca: tls.ca });
    socket.once(tls === undefined ? 'connect' : 'secureConnect', () => socket.write(CONNECT));
    socket.setTimeout(1_000, () => socket.destroy(new Error('no answer')));
    socket.once('data', () => {
      resolve();
      socket.destroy();
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the connection was closed')));
  });
}
