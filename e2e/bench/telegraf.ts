import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { ManagedProcess } from '@muster/engines';
import { stateFolder, type ReadyLine } from '../system.ts';
import type { Consumer } from './telemetry-bench.ts';

const TOPIC_ROOT = 'telegra';
const MEASUREMENT = 'telegraf';
const STOP_LIMIT_MS = 10_000;

/**
 * As it does what ingestion does: acknowledged after the write, batches of the same size and age, no compression, and
 * enough unacknowledged messages that it never waits for an acknowledgement. Its defaults (a flush each 10 s, 1,000
 * messages) would lose to a rate like this.
 */
function configuration({ broker, influxdb }: ReadyLine): string {
  const text = (value: string): string => JSON.stringify(value);
  return `[agent]
  interval = "10s"
  flush_interval = "200ms"
  flush_jitter = "0s"
  metric_batch_size = 5000
  metric_buffer_limit = 1000000
  omit_hostname = true

[[inputs.mqtt_consumer]]
  servers = [${text((broker.urls[0] ?? '').replace(/^mqtt:/, 'tcp:'))}]
  topics = ["${TOPIC_ROOT}/+/telemetry"]
  topic_tag = ""
  qos = 1
  persistent_session = true
  client_id = "bench-telegraf"
  username = ${text(broker.username)}
  password = ${text(broker.password)}
  max_undelivered_messages = 65535
  name_override = "${MEASUREMENT}"
  data_format = "json"
  json_time_key = "ts"
  json_time_format = "unix_ms"
  [[inputs.mqtt_consumer.topic_parsing]]
    topic = "${TOPIC_ROOT}/+/telemetry"
    tags = "_/device/_"

[[outputs.influxdb]]
  urls = [${text(influxdb.url)}]
  database = ${text(influxdb.database)}
  skip_database_creation = true
  username = ${text(influxdb.username)}
  password = ${text(influxdb.password)}
  content_encoding = "identity"
  timeout = "10s"
`;
}

/** A Telegraf beside the system, on the same broker and InfluxDB; it reads topics of its own. */
export class Telegraf {
  private constructor(
    readonly version: string,
    private readonly process: ManagedProcess,
  ) {}

  /** The program is named by `MUSTER_TELEGRAF`; undefined where it is not. */
  static async start(address: ReadyLine): Promise<Telegraf | undefined> {
    const program = process.env['MUSTER_TELEGRAF'] ?? '';
    if (program === '') return undefined;
    const version = execFileSync(program, ['--version'], { encoding: 'utf8' }).trim();
    const folder = stateFolder();
    const file = path.join(folder, 'telegraf.conf');
    writeFileSync(file, configuration(address), { mode: 0o600 });
    const plan = { name: 'telegraf', command: program, args: ['--config', file], logFile: path.join(folder, 'log') };
    return new Telegraf(version, await ManagedProcess.start(plan));
  }

  get consumer(): Consumer {
    return { pid: this.process.identity.pid, topicRoot: TOPIC_ROOT, measurement: MEASUREMENT };
  }

  async stop(): Promise<void> {
    await this.process.stop(STOP_LIMIT_MS);
  }
}
