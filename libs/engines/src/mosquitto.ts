import { pbkdf2Sync, randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { engineProgram, startEngine, type Progress } from './engine.ts';
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

/** Rounds of PBKDF2 in a password file, as mosquitto_passwd writes them. */
const HASH_ROUNDS = 101;

/** One line of a Mosquitto password file: PBKDF2 with SHA-512, type 7. */
export function passwordLine(username: string, password: string): string {
  const salt = randomBytes(12);
  const hash = pbkdf2Sync(password, salt, HASH_ROUNDS, 64, 'sha512');
  return `${username}:$7$${HASH_ROUNDS}$${salt.toString('base64')}$${hash.toString('base64')}`;
}

function configuration(plan: MosquittoPlan): string {
  return [
    `listener ${plan.port} 127.0.0.1`,
    // Without it Mosquitto, as root, becomes its own user, who may not enter our folder.
    ...(process.getuid?.() === 0 ? ['user root'] : []),
    'allow_anonymous false',
    `password_file ${path.join(plan.folder, 'passwords')}`,
    'persistence true',
    `persistence_location ${plan.folder}/`,
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

/** The program of Mosquitto, found or installed. */
export async function mosquittoProgram(onProgress: Progress): Promise<string> {
  return engineProgram(
    { title: 'Mosquitto', program: 'mosquitto', debianPackage: 'mosquitto', urlVariable: 'MUSTER_BROKERS' },
    onProgress,
  );
}

/**
 * Starts a broker on the loopback interface.
 * @throws EngineError
 */
export async function startMosquitto(plan: MosquittoPlan, onProgress: Progress): Promise<ManagedProcess> {
  const program = await mosquittoProgram(onProgress);
  mkdirSync(plan.folder, { recursive: true, mode: 0o700 });
  const configurationFile = path.join(plan.folder, 'mosquitto.conf');
  writeFileSync(path.join(plan.folder, 'passwords'), `${passwordLine(plan.username, plan.password)}\n`, {
    mode: 0o600,
  });
  writeFileSync(configurationFile, configuration(plan), { mode: 0o600 });
  return startEngine(
    'Mosquitto',
    { name: plan.name, command: program, args: ['-c', configurationFile], logFile: plan.logFile },
    plan.folder,
    () => tcpAnswers(plan.port),
  );
}

async function tcpAnswers(port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.end();
      resolve();
    });
    socket.on('error', reject);
  });
}
