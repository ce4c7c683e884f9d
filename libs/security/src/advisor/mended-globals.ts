import { settingOf, valueOf, type Setting } from './configuration.ts';
import { isTrue } from './options.ts';

/** Options that are written anew wherever they stand. */
const REPLACED = new Set([
  ...['per_listener_settings', 'include_dir', 'message_size_limit', 'retry_interval', 'port', 'bind_address'],
  ...['allow_anonymous', 'allow_zero_length_clientid', 'password_file', 'acl_file'],
]);

/** Options of the whole broker with what they become where their value is none to keep. */
const GLOBALS: readonly (readonly [name: string, keeps: (value: string) => boolean, value: string])[] = [
  ['persistence', isTrue, 'true'],
  ['persistent_client_expiration', () => true, '14d'],
  // The default of 1,000 loses QoS 1 silently, and 0 drops everything since 2.0.16 (mqtt-pitfalls B1).
  ['max_queued_messages', (value) => Number(value) > 1_000, '1000000'],
  ['max_inflight_messages', (value) => Number(value) > 0, '1000'],
  ['max_keepalive', (value) => Number(value) < 65_535, '3600'],
  ['set_tcp_nodelay', isTrue, 'true'],
  ['connection_messages', isTrue, 'true'],
  ['log_dest', (value) => value !== 'none', 'stderr'],
  ['log_type', (value) => value !== 'none', 'all'],
];

/** Above the payload a packet holds its topic of up to 65,535 bytes and some more of header. */
const PACKET_OVERHEAD = 66_000;

/** Whether an option is written anew wherever it stands. */
export function isReplaced(name: string): boolean {
  return REPLACED.has(name);
}

/** Options of access that stay as they are, in their order. */
export function isAccessOption(name: string): boolean {
  return ['plugin', 'psk_file', 'auto_id_prefix'].includes(name) || /_opt_|deny_special/.test(name);
}

/**
 * The options of the whole broker: what is good stays, and what is missing or loses messages is written anew.
 * @param dataFolder where the database is kept, where no place was given
 * @param line how a setting is written
 */
export function mendGlobals(
  settings: readonly Setting[],
  dataFolder: string,
  line: (setting: Setting) => string,
): readonly string[] {
  const kept = settings
    .filter(({ name, value }) => {
      if (isReplaced(name) || isAccessOption(name) || (name === 'user' && value === 'root')) return false;
      return GLOBALS.find(([global]) => global === name)?.[1](value) ?? true;
    })
    .filter(({ name }) => !['max_packet_size', 'autosave_interval'].includes(name));
  const lastOnly = kept.filter(
    (setting) => ['log_dest', 'log_type'].includes(setting.name) || settingOf(kept, setting.name) === setting,
  );
  const missing = GLOBALS.filter(([name]) => name !== 'log_type' && settingOf(kept, name) === undefined);
  const limit = Number(valueOf(settings, 'message_size_limit') ?? 0);
  const packet = valueOf(settings, 'max_packet_size') ?? String(limit > 0 ? limit + PACKET_OVERHEAD : 2_097_152);
  const seconds = Number(valueOf(settings, 'autosave_interval') ?? 0);
  return [
    ...lastOnly.map((setting) => line(setting)),
    ...missing.map(([name, , value]) => `${name} ${value}`),
    `max_packet_size ${packet}`,
    `autosave_interval ${seconds > 0 && seconds <= 300 ? seconds : 30}`,
    ...(settingOf(kept, 'persistence_location') === undefined ? [`persistence_location ${dataFolder}`] : []),
  ];
}
