import { filterCovers, type DeviceId } from '@muster/contract';

/** Which devices' filters match a topic, without trying the filters of every device. */
export class FilterIndex {
  readonly #exact = new Map<string, DeviceId[]>();
  /** By what stands before `/#`. */
  readonly #subtrees = new Map<string, DeviceId[]>();
  readonly #others: { readonly filter: string; readonly device: DeviceId }[] = [];

  constructor(scopes: Iterable<{ readonly device: DeviceId; readonly filters: readonly string[] }>) {
    for (const { device, filters } of scopes)
      for (const filter of filters) {
        const stem = filter.endsWith('/#') ? filter.slice(0, -2) : filter;
        if (/(^|\/)[+#](\/|$)/.test(stem)) this.#others.push({ filter, device });
        else add(stem === filter ? this.#exact : this.#subtrees, stem, device);
      }
  }

  /** The devices that a topic may belong to. */
  of(topic: string): ReadonlySet<DeviceId> {
    const found = new Set(this.#exact.get(topic));
    for (let end = topic.length; end >= 0; end = end === 0 ? -1 : topic.lastIndexOf('/', end - 1))
      for (const device of this.#subtrees.get(topic.slice(0, end)) ?? []) found.add(device);
    for (const { filter, device } of this.#others) if (filterCovers(filter, topic)) found.add(device);
    return found;
  }
}

function add(map: Map<string, DeviceId[]>, key: string, device: DeviceId): void {
  const devices = map.get(key);
  if (devices === undefined) map.set(key, [device]);
  else devices.push(device);
}
