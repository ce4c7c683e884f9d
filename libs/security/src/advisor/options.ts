/** What an option of mosquitto.conf is about: the broker, access, one listener, one bridge, the plugin above it. */
export type OptionScope = 'global' | 'security' | 'listener' | 'bridge' | 'plugin';

/** How the value of an option is read. */
export type OptionKind = 'boolean' | 'number' | 'text';

/** One option, as Mosquitto 2.0 reads it (mosquitto.conf(5), and 2.0.11 itself where the page says nothing). */
export interface OptionDefinition {
  readonly scope: OptionScope;
  readonly kind: OptionKind;
  /** What a second line of the same name does: Mosquitto refuses the file, takes the last, or takes both. */
  readonly repeated: 'refused' | 'last' | 'both';
}

const GROUPS: readonly (readonly [OptionScope, OptionKind, OptionDefinition['repeated'], string])[] = [
  [
    'global',
    'boolean',
    'last',
    'allow_duplicate_messages autosave_on_changes check_retain_source connection_messages log_timestamp ' +
      'per_listener_settings persistence queue_qos0_messages retain_available retained_persistence set_tcp_nodelay ' +
      'upgrade_outgoing_qos',
  ],
  [
    'global',
    'number',
    'last',
    'autosave_interval log_facility max_inflight_bytes max_inflight_messages max_keepalive max_packet_size ' +
      'max_queued_bytes max_queued_messages memory_limit message_size_limit retry_interval sys_interval ' +
      'websockets_headers_size websockets_log_level',
  ],
  ['global', 'text', 'last', 'persistent_client_expiration'],
  [
    'global',
    'text',
    'refused',
    'clientid_prefixes log_timestamp_format persistence_file persistence_location pid_file user',
  ],
  ['global', 'text', 'both', 'include_dir log_dest log_type'],
  ['security', 'boolean', 'last', 'allow_anonymous allow_zero_length_clientid'],
  ['security', 'text', 'refused', 'acl_file auto_id_prefix password_file psk_file'],
  ['security', 'text', 'both', 'auth_plugin plugin'],
  ['plugin', 'boolean', 'last', 'auth_plugin_deny_special_chars'],
  [
    'listener',
    'boolean',
    'last',
    'require_certificate use_identity_as_username use_subject_as_username use_username_as_clientid',
  ],
  ['listener', 'number', 'last', 'max_connections max_qos max_topic_alias maximum_qos port'],
  [
    'listener',
    'text',
    'refused',
    'bind_address bind_interface cafile capath certfile ciphers ciphers_tls1.3 crlfile dhparamfile http_dir keyfile ' +
      'mount_point psk_hint tls_engine tls_engine_kpass_sha1 tls_version',
  ],
  ['listener', 'text', 'last', 'protocol socket_domain tls_keyform'],
  [
    'bridge',
    'boolean',
    'last',
    'bridge_attempt_unsubscribe bridge_insecure bridge_outgoing_retain bridge_require_ocsp cleansession ' +
      'local_cleansession notifications notifications_local_only round_robin try_private',
  ],
  ['bridge', 'number', 'last', 'bridge_max_packet_size idle_timeout keepalive_interval threshold'],
  ['bridge', 'text', 'both', 'topic'],
  ['bridge', 'text', 'last', 'bridge_protocol_version restart_timeout start_type'],
  [
    'bridge',
    'text',
    'refused',
    'address addresses bridge_alpn bridge_bind_address bridge_cafile bridge_capath bridge_certfile bridge_identity ' +
      'bridge_keyfile bridge_psk bridge_tls_version clientid local_clientid local_password local_username ' +
      'notification_topic password remote_clientid remote_password remote_username username',
  ],
];

const OPTIONS: ReadonlyMap<string, OptionDefinition> = new Map(
  GROUPS.flatMap(([scope, kind, repeated, names]) =>
    names.split(' ').map((name) => [name, { scope, kind, repeated }] as const),
  ),
);

/** Two names of one option. */
const SYNONYMS: Readonly<Record<string, string>> = {
  auth_plugin: 'plugin',
  addresses: 'address',
  clientid: 'remote_clientid',
  username: 'remote_username',
  password: 'remote_password',
  maximum_qos: 'max_qos',
};

/** The name under which an option is kept, whichever of its spellings was used. */
export function canonicalName(name: string): string {
  return Object.hasOwn(SYNONYMS, name) ? (SYNONYMS[name] ?? name) : name;
}

/** What Mosquitto 2.0 knows of an option; undefined where it refuses the name. `listener` and `connection` open blocks. */
export function optionDefinition(name: string): OptionDefinition | undefined {
  if (/^(?:auth|plugin)_opt_./.test(name)) return { scope: 'plugin', kind: 'text', repeated: 'both' };
  return OPTIONS.get(name);
}

/**
 * Listener options that open the default listener, on port 1883 of every interface, when they stand before the first
 * `listener` line (seen with 2.0.11; tls_version, http_dir and max_topic_alias do not).
 */
export function opensDefaultListener(name: string, value: string, perListener: boolean): boolean {
  const scope = OPTIONS.get(name)?.scope;
  if (scope === 'listener') return !['tls_version', 'http_dir', 'max_topic_alias'].includes(name);
  if (!perListener || scope !== 'security') return false;
  return (
    ['password_file', 'psk_file', 'plugin', 'auth_plugin'].includes(name) ||
    (name === 'allow_zero_length_clientid' && !isTrue(value))
  );
}

/** Whether a value means yes; Mosquitto takes `true` and `1`. */
export function isTrue(value: string | undefined): boolean {
  return value === '1' || value?.toLowerCase() === 'true';
}

/** Whether Mosquitto takes a value as yes or no. */
export function isBoolean(value: string): boolean {
  return /^(?:true|false|1|0)$/i.test(value);
}

const LIMITS: Readonly<Record<string, readonly [number, number]>> = {
  max_keepalive: [10, 65_535],
  max_packet_size: [20, 268_435_455],
  max_inflight_messages: [0, 65_535],
  max_qos: [0, 2],
  port: [1, 65_535],
};
const CHOICES: Readonly<Record<string, readonly string[]>> = {
  protocol: ['mqtt', 'mqttsn', 'websockets'],
  log_type: [
    ...['none', 'error', 'warning', 'notice', 'information', 'debug', 'subscribe', 'unsubscribe', 'websockets'],
    ...['internal', 'all'],
  ],
  log_dest: ['none', 'syslog', 'stdout', 'stderr', 'topic', 'file', 'dlt'],
};

/** What Mosquitto would expect of a value that it refuses; undefined where it takes the value. */
export function expectedValue(name: string, definition: OptionDefinition, value: string): string | undefined {
  const word = value.split(' ')[0] ?? '';
  if (value === '') return 'a value';
  if (definition.kind === 'boolean' && !isBoolean(word)) return 'true or false';
  const [lowest, highest] = (Object.hasOwn(LIMITS, name) ? LIMITS[name] : undefined) ?? [-Infinity, Infinity];
  if (
    definition.kind === 'number' &&
    !(Number.isInteger(Number(word)) && Number(word) >= lowest && Number(word) <= highest)
  )
    return lowest === -Infinity ? 'a whole number' : `a whole number from ${lowest} to ${highest}`;
  const choices = Object.hasOwn(CHOICES, name) ? CHOICES[name] : undefined;
  if (choices !== undefined && !choices.includes(word)) return `one of ${choices.join(', ')}`;
  if (name === 'persistent_client_expiration' && !/^\d+[hdwmy]$/.test(word)) return 'a number with h, d, w, m or y';
  return undefined;
}
