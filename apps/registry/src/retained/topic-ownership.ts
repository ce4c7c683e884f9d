import {
  filterCovers,
  isDeviceId,
  ownableTopics,
  type DeviceId,
  type TopicMap,
  type TopicRole,
} from '@muster/contract';
import type { PrismaClient } from '@muster/database';
import { isLedgerTopic } from './retained-ledger.ts';

/** A device that says it owns topics outside its own subtrees. */
export interface Claim {
  readonly device: DeviceId;
  readonly topics: readonly string[];
  /** Whether it is decommissioned, or about to be: what another one owns as well is the other's. */
  readonly isTombstoned: boolean;
}

/** Whose topics nobody retains by the contract. Telemetry is subscribed once a broker, by ingestion (mqtt-pitfalls B4). */
const UNRETAINED_ROLES: readonly TopicRole[] = ['telemetry', 'command', 'ack'];
const RETAINED_ROLES: readonly TopicRole[] = ['status', 'lwt', 'info', 'config'];

/** The device that a topic belongs to by its name alone: nobody else can own what is in a device's subtree. */
function ownerByName(
  topic: string,
  topicMap: TopicMap,
): { readonly isInSubtree: boolean; readonly device: DeviceId | undefined } {
  const inSubtree = topicMap.subtreeOwner(topic);
  if (inSubtree !== undefined) return { isInSubtree: true, device: isDeviceId(inSubtree) ? inSubtree : undefined };
  const named = topicMap.match(topic)?.device;
  return { isInSubtree: false, device: named?.valid === true ? named.id : undefined };
}

/** Filters of which none covers another. Two may overlap: what is delivered twice is twice the same entry. */
function filtersOf({ entries }: TopicMap, roles: readonly TopicRole[]): readonly string[] {
  const all = [...new Set(entries.filter(({ role }) => roles.includes(role)).map(({ pattern }) => pattern.filter))];
  return all.filter((filter) => !all.some((other) => other !== filter && filterCovers(other, filter)));
}

/**
 * Whose a topic is, whether that device is in service or not, and which filters tell of what is retained: by the topic
 * map, and by what devices say they own.
 */
export class TopicOwners {
  readonly #topicMap: TopicMap;
  readonly #owners = new Map<string, Pick<Claim, 'device' | 'isTombstoned'>>();
  /** None of them covers another, and none is for telemetry, apart from topics that a device says it retains (mqtt-pitfalls B4, R4). */
  readonly liveFilters: readonly string[];
  /** Where by the contract nothing is retained, and something may be all the same. */
  readonly otherFilters: readonly string[];

  constructor(topicMap: TopicMap, claims: readonly Claim[]) {
    this.#topicMap = topicMap;
    for (const { device, topics, isTombstoned } of claims)
      for (const topic of ownableTopics(device, topics, topicMap)) {
        const before = this.#owners.get(topic);
        if (before === undefined || (before.isTombstoned && !isTombstoned))
          this.#owners.set(topic, { device, isTombstoned });
      }
    const byMap = filtersOf(topicMap, RETAINED_ROLES);
    const claimed = [...this.#owners.keys()].filter(
      (topic) => isLedgerTopic(topic) && !byMap.some((filter) => filterCovers(filter, topic)),
    );
    this.liveFilters = [...byMap, ...claimed];
    this.otherFilters = filtersOf(topicMap, UNRETAINED_ROLES);
  }

  /** The device that a topic belongs to; null where it is nobody's. */
  ownerOf(topic: string): string | null {
    const { isInSubtree, device } = ownerByName(topic, this.#topicMap);
    if (isInSubtree) return device ?? null;
    const claimant = this.#owners.get(topic);
    if (claimant !== undefined && (!claimant.isTombstoned || device === undefined)) return claimant.device;
    return device ?? claimant?.device ?? null;
  }

  /** Whether changes of a topic are heard as they happen. */
  isLive(topic: string): boolean {
    return this.liveFilters.some((filter) => filterCovers(filter, topic));
  }
}

/** Those of some ids that are devices in service; one that is archived goes on with what it does. */
export async function devicesInService(
  database: Pick<PrismaClient, '$queryRaw'>,
  ids: readonly string[],
): Promise<ReadonlySet<string>> {
  if (ids.length === 0) return new Set();
  const rows = await database.$queryRaw<{ id: string }[]>`
    SELECT id FROM device WHERE id = ANY(${[...new Set(ids)]}::text[])
      AND NOT EXISTS (SELECT 1 FROM tombstone WHERE tombstone.device = device.id)`;
  return new Set(rows.map(({ id }) => id));
}

/**
 * All devices in service that own these topics, by their subtree, their name or their info: what one of them owns is
 * never cleared for another one. By the database as it is now; a topic that none of them owns is left out.
 */
export async function ownersInService(
  database: Pick<PrismaClient, '$queryRaw'>,
  topicMap: TopicMap,
  topics: readonly string[],
): Promise<ReadonlyMap<string, readonly DeviceId[]>> {
  if (topics.length === 0) return new Map();
  const named = topics.flatMap((topic) => {
    const { device } = ownerByName(topic, topicMap);
    return device === undefined ? [] : [{ topic, device }];
  });
  const claims = await database.$queryRaw<{ device: DeviceId; topic: string }[]>`
    SELECT device.id AS device, claimed.topic FROM device
    CROSS JOIN LATERAL jsonb_array_elements_text(
      CASE WHEN jsonb_typeof(info -> 'topics') = 'array' THEN info -> 'topics' ELSE '[]'::jsonb END) AS claimed(topic)
    WHERE claimed.topic = ANY(${[...new Set(topics)]}::text[])
      AND NOT EXISTS (SELECT 1 FROM tombstone WHERE tombstone.device = device.id)`;
  const inService = await devicesInService(
    database,
    named.map(({ device }) => device),
  );
  const owners = new Map<string, DeviceId[]>();
  for (const { topic, device } of [
    ...claims.filter((one) => ownableTopics(one.device, [one.topic], topicMap).length > 0),
    ...named.filter((one) => inService.has(one.device)),
  ]) {
    const known = owners.get(topic);
    if (known === undefined) owners.set(topic, [device]);
    else if (!known.includes(device)) known.push(device);
  }
  return owners;
}
