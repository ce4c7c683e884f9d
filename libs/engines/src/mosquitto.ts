import { pbkdf2Sync, randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { startContainer } from './docker.ts';
import { engineSource, type EngineSource, type EngineWay, type Progress } from './engine-source.ts';
import { startEngine } from './engine.ts';
import type { ManagedProcess } from './processes.ts';

/** Where a broker keeps its files, and who may use it. */
export interface MosquittoPlan {
  readonly name: string;
  readonly folder: string;
  readonly logFile: string;
  readonly port: number;
  readonly username: string;
  readonly password: string;
  /** Lines of mosquitto.conf that stand after ours. */
  readonly settings?: readonly string[];
}

const IN_CONTAINER = '/mosquitto/muster';
/** Rounds of PBKDF2 in a password file, as mosquitto_passwd writes them. */
const HASH_ROUNDS = 101;

/** One line of a Mosquitto password file: PBKDF2 with SHA-512, type 7. */
export function passwordLine(username: string, password: string): string {
  const salt = randomBytes(12);
  const hash = pbkdf2Sync(password, salt, HASH_ROUNDS, 64, 'sha512');
  return `${username}:$7$${HASH_ROUNDS}$${salt.toString('base64')}$${hash.toString('base64')}`;
}

/** `listener` and `folder` are as the broker sees them, which differs in a container. */
function configuration(plan: MosquittoPlan, listener: string, folder: string): string {
  return [
    `listener ${listener}`,
    // Without it Mosquitto, as root, becomes its own user, who may not enter our folder.
    ...(process.getuid?.() === 0 ? ['user root'] : []),
    'allow_anonymous false',
    `password_file ${folder}/passwords`,
    'persistence true',
    `persistence_location ${folder}/`,
    'autosave_interval 30',
    // The default of 1,000 loses QoS 1 silently during any outage (mqtt-pitfalls B1).
    'max_queued_messages 1000000',
    'set_tcp_nodelay true',
    // Larger ones are of no use here and would be held in memory whole; the client is disconnected (B8).
    'max_packet_size 2097152',
    'log_dest stderr',
    'log_timestamp_format %Y-%m-%dT%H:%M:%S',
    ...(plan.settings ?? []),
    '',
  ].join('\n');
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
 * Starts a broker on the loopback interface.
 * @throws EngineError
 */
export async function startMosquitto(plan: MosquittoPlan, source: EngineSource): Promise<ManagedProcess> {
  mkdirSync(plan.folder, { recursive: true, mode: 0o700 });
  const configurationFile = path.join(plan.folder, 'mosquitto.conf');
  const write = (listener: string, folder: string): void => {
    const passwords = `${passwordLine(plan.username, plan.password)}\n`;
    writeFileSync(path.join(plan.folder, 'passwords'), passwords, { mode: 0o600 });
    writeFileSync(configurationFile, configuration(plan, listener, folder), { mode: 0o600 });
  };
  if (source.kind === 'image') {
    write('1883', IN_CONTAINER);
    return startContainer(
      source.docker,
      {
        ...{ name: plan.name, title: 'Mosquitto', image: 'eclipse-mosquitto:2', logFile: plan.logFile },
        port: { host: plan.port, container: 1883 },
        volume: { host: plan.folder, container: IN_CONTAINER },
        environment: {},
        command: ['mosquitto', '-c', `${IN_CONTAINER}/mosquitto.conf`],
        stopSignal: 'SIGTERM',
      },
      () => mqttAnswers(plan.port),
    );
  }
  write(`${plan.port} 127.0.0.1`, plan.folder);
  return startEngine(
    'Mosquitto',
    { name: plan.name, command: source.program, args: ['-c', configurationFile], logFile: plan.logFile },
    plan.folder,
    () => mqttAnswers(plan.port),
  );
}

/** A minimal MQTT 3.1.1 CONNECT without an account: any broker answers it, if only to refuse. */
const CONNECT = Buffer.from([0x10, 0x0e, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 10, 0, 2, 0x6d, 0x30]);

/** Asks for a word of the broker itself: in front of a container a proxy accepts connections before anybody listens. */
async function mqttAnswers(port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(CONNECT));
    socket.setTimeout(1_000, () => socket.destroy(new Error('no answer')));
    socket.once('data', () => {
      resolve();
      socket.destroy();
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the connection was closed')));
  });
}
