import { ownableTopics, type DeviceId, type TopicMap, type TopicRole } from '@muster/contract';

/** The services that have a broker account of their own. */
export const SERVICE_NAMES = ['ingestion', 'presence', 'registry', 'automation', 'alerting'] as const;
/** See {@link SERVICE_NAMES}. */
export type ServiceName = (typeof SERVICE_NAMES)[number];

/** The broker account of a service. With a dot, which no device id can have. */
export function serviceUsername(service: ServiceName): string {
  return `muster.${service}`;
}

/** The account that an agent makes anew with every change, to see that the broker has taken it. */
export const PROBE_USERNAME = 'muster.agent';
/** The account that any number of devices may share, where it has been asked for. */
export const SHARED_USERNAME = 'muster.shared';

/** A device with an account, and the topics outside its own subtrees that it says it owns. */
export interface DeviceGrant {
  readonly device: DeviceId;
  readonly topics: readonly string[];
}

/** What an ACL file is made of. */
export interface AccessControl {
  readonly topicMap: TopicMap;
  readonly devices: readonly DeviceGrant[];
  /** Whether the shared account is there. */
  readonly shared: boolean;
}

const READS: Readonly<Record<'ingestion' | 'presence', readonly TopicRole[]>> = {
  ingestion: ['telemetry'],
  presence: ['status', 'lwt'],
};

/** Mosquitto takes the rest of the line and trims it: a topic with a blank at either end would grant another one. */
function isPlainInAclFile(topic: string): boolean {
  return topic === topic.trim() && !/[\r\n]/.test(topic);
}

/**
 * The topics of a device with an account that its own subtrees (`pattern … %u`) do not cover: those that are named
 * after it (`home/hall/motion` of `hall-motion`), and those that it claims and no other device with an account has by
 * its name.
 */
export function grantedTopics(
  { device, topics }: DeviceGrant,
  topicMap: TopicMap,
  withAccount: ReadonlySet<string>,
): readonly string[] {
  const named = topicMap.deviceFilters(device).filter((filter) => !filter.endsWith('/#'));
  const claimed = ownableTopics(device, topics, topicMap).filter((topic) => {
    const owner = topicMap.match(topic)?.device;
    const isAnothers = owner?.valid === true && owner.id !== device && withAccount.has(owner.id);
    return isPlainInAclFile(topic) && !isAnothers && topicMap.subtreeOwner(topic) !== device;
  });
  return [...new Set([...named, ...claimed])];
}

/** The subtrees that belong to the account they are named after: `devices/%u/#`. */
function ownSubtrees(topicMap: TopicMap): readonly string[] {
  const roots = topicMap.entries.flatMap(({ device, pattern }) => {
    const own = pattern.levels.findIndex((level) => level.kind === 'wildcard' && device === `{${level.name}}`);
    if (own < 0) return [];
    const levels = pattern.levels.slice(0, own + 1);
    return [levels.map((level, at) => (level.kind === 'literal' ? level.text : at === own ? '%u' : '+')).join('/')];
  });
  return [...new Set(roots)].map((root) => `${root}/#`);
}

/**
 * Mosquitto's ACL file: each service gets what it reads and its own status, each device its own subtrees and topics,
 * nobody else anything. `muster/` and `$SYS` are granted to services alone.
 */
export function renderAclFile({ topicMap, devices, shared }: AccessControl): string {
  const withAccount = new Set<string>(devices.map(({ device }) => device));
  const lines = [
    '# Written by the broker agent; the next change overwrites what is edited here.',
    ...ownSubtrees(topicMap).map((subtree) => `pattern readwrite ${subtree}`),
    ...(['ingestion', 'presence'] as const).flatMap((service) => [
      `user ${serviceUsername(service)}`,
      // What a broker retains of a session that is over is put right by presence, in the name of the device.
      ...topicMap
        .filters(...READS[service])
        .map((filter) => `topic ${service === 'presence' ? 'readwrite' : 'read'} ${filter}`),
      `topic readwrite muster/services/${service}`,
      ...(service === 'ingestion'
        ? [
            // What it publishes and looks for in InfluxDB, to see that its own way works.
            'topic readwrite muster/services/ingestion/canary/#',
            ...['topic read $SYS/#', 'topic readwrite muster/digest/#', 'topic read muster/interest/+'],
          ]
        : ['topic read $SYS/broker/uptime']),
    ]),
    // It has to see which services are back after a restart of the broker.
    `user ${PROBE_USERNAME}`,
    'topic read muster/services/+',
    `user ${serviceUsername('alerting')}`,
    'topic readwrite muster/services/alerting',
    // Who is not heard while ingestion is away is not silent.
    'topic read muster/services/ingestion',
    'topic readwrite muster/interest/alerting',
    'topic read muster/digest/#',
    'topic read $SYS/#',
    // It looks for what any device has left anywhere, and clears it: info.topics may name any topic, and a look that the
    // broker cuts short would prove what is not so. It also counts what a broker retains, its own and Muster's: to deny
    // the names of other services would be to deny reading them as well, for an ACL file has no rule against writing alone.
    `user ${serviceUsername('registry')}`,
    'topic readwrite #',
    'topic read $SYS/#',
    // Rules name any topic: it may write everywhere but in the name of another service.
    `user ${serviceUsername('automation')}`,
    'topic readwrite #',
    ...SERVICE_NAMES.filter((other) => other !== 'automation').flatMap((other) => [
      `topic deny muster/services/${other}`,
      `topic deny muster/interest/${other}`,
    ]),
    'topic deny muster/services/ingestion/canary/#',
    ...(shared ? [`user ${SHARED_USERNAME}`, 'topic readwrite #', 'topic deny muster/#'] : []),
    ...devices.flatMap((grant) => {
      const topics = grantedTopics(grant, topicMap, withAccount);
      return topics.length === 0 ? [] : [`user ${grant.device}`, ...topics.map((topic) => `topic readwrite ${topic}`)];
    }),
  ];
  return `${lines.join('\n')}\n`;
}
