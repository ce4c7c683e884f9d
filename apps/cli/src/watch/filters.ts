import { filterCovers, isDeviceId, isMetricName } from '@muster/contract';
import { UsageError } from '../up/settings.ts';

/** MQTT 5, section 4.7.3. */
const MAX_FILTER_BYTES = 65_535;

function refuse(filter: string, why: string): never {
  throw new UsageError(`filter ${JSON.stringify(filter.slice(0, 100))}: ${why}`);
}

function checkTopicFilter(filter: string): void {
  if (filter === '') refuse(filter, 'is empty; # is everything');
  if (filter.includes('\0') || !filter.isWellFormed()) refuse(filter, 'has characters that no topic can have');
  if (Buffer.byteLength(filter) > MAX_FILTER_BYTES) refuse(filter, 'is longer than 65,535 bytes');
  if (filter.startsWith('$share/'))
    refuse(filter, 'a shared subscription takes messages away from its other members; leave $share/GROUP/ out');
  const levels = filter.split('/');
  for (const [index, level] of levels.entries()) {
    if (level.includes('#') && level !== '#') refuse(filter, '# stands for whole levels, such as devices/#');
    if (level === '#' && index < levels.length - 1) refuse(filter, 'nothing can follow #');
    if (level.includes('+') && level !== '+') refuse(filter, '+ stands for one whole level, such as devices/+/status');
    if (level.includes('*')) refuse(filter, 'MQTT has no *; + is one level, # is all that follow');
  }
}

/** Topics that begin with `$` match no wildcard at the beginning (MQTT 5, section 4.7.2). */
function areApart(left: string, right: string): boolean {
  return left.startsWith('$') !== right.startsWith('$') && (/^[+#]/.test(left) || /^[+#]/.test(right));
}

/** Whether some topic is matched by both filters. */
export function topicFiltersOverlap(left: string, right: string): boolean {
  if (areApart(left, right)) return false;
  const [leftLevels, rightLevels] = [left.split('/'), right.split('/')];
  for (let index = 0; ; index += 1) {
    const [a, b] = [leftLevels[index], rightLevels[index]];
    // `a/#` matches `a` as well.
    if (a === '#' || b === '#' || (a === undefined && b === undefined)) return true;
    if (a === undefined || b === undefined) return false;
    if (a !== '+' && b !== '+' && a !== b) return false;
  }
}

/**
 * MQTT topic filters as they can be subscribed to on one connection: without those that another one covers.
 * @throws UsageError for what is no filter, and for two that overlap without one covering the other: a broker delivers
 * what both match twice (mqtt-pitfalls R4), and it would be counted twice
 */
export function parseTopicFilters(filters: readonly string[]): readonly string[] {
  for (const filter of filters) checkTopicFilter(filter);
  const unique = [...new Set(filters)];
  const covers = (wide: string, narrow: string): boolean => !areApart(wide, narrow) && filterCovers(wide, narrow);
  const kept = unique.filter((filter) => !unique.some((other) => other !== filter && covers(other, filter)));
  for (const [index, filter] of kept.entries()) {
    const clash = kept.slice(index + 1).find((other) => topicFiltersOverlap(filter, other));
    if (clash !== undefined)
      refuse(filter, `and ${JSON.stringify(clash)} overlap, and what both match would count twice; give one for both`);
  }
  return kept;
}

/** What of the fleet is to be shown. */
export interface DeviceFilter {
  /** Whether a reading is wanted. */
  readonly hasReading: (device: string, metric: string) => boolean;
  /** Whether a device is wanted that has these metrics: a filter for some metrics wants only those that have one. */
  readonly hasDevice: (device: string, metrics: readonly string[]) => boolean;
  /** Exact names, where all filters have them, so that the API need not send the others. */
  readonly exact: { readonly devices: readonly string[]; readonly metrics: readonly string[] };
}

interface NamePattern {
  readonly matches: (name: string) => boolean;
  /** Undefined for one with a wildcard. */
  readonly exact: string | undefined;
}

const anything: NamePattern = { matches: () => true, exact: undefined };

function namePattern(filter: string, text: string, what: string, isName: (name: string) => boolean): NamePattern {
  if (text === '+' || text === '*') return anything;
  // A wildcard stands for any part of a name, so what is around it must be parts of one.
  if (!isName(text.replaceAll('*', 'x')))
    refuse(filter, `${JSON.stringify(text.slice(0, 70))} is no ${what}; * is any part of a name, + or * alone is any`);
  if (!text.includes('*')) return { matches: (name) => name === text, exact: text };
  return { matches: (name) => isGlobMatch(text, name), exact: undefined };
}

/** Whether a name is matched by a pattern in which `*` is any part; in linear time whatever the pattern. */
function isGlobMatch(pattern: string, name: string): boolean {
  const [first = '', ...rest] = pattern.split('*');
  const last = rest.pop() ?? '';
  if (!name.startsWith(first) || !name.endsWith(last) || name.length < first.length + last.length) return false;
  let at = first.length;
  for (const part of rest) {
    const found = name.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return at <= name.length - last.length;
}

/**
 * Filters for what the API knows: `DEVICE` or `DEVICE/METRIC`, where `*` is any part of a name and `+` any name, and `#`
 * everything that follows. None is everything.
 * @throws UsageError
 */
export function parseDeviceFilters(filters: readonly string[]): DeviceFilter {
  const parsed = filters.map((filter) => {
    const [device = '', metric, ...more] = filter.split('/');
    if (more.length > 0)
      refuse(filter, 'through the API a filter is DEVICE or DEVICE/METRIC; topics are for --broker mqtt://…');
    if (device === '#' && metric !== undefined) refuse(filter, 'nothing can follow #');
    return {
      device: device === '#' ? anything : namePattern(filter, device, 'device id', isDeviceId),
      metric: metric === undefined || metric === '#' ? undefined : namePattern(filter, metric, 'metric', isMetricName),
    };
  });
  const devices = parsed.map(({ device }) => device.exact);
  const metrics = parsed.map(({ metric }) => metric?.exact);
  const allExact = (names: readonly (string | undefined)[]): readonly string[] => {
    const exact = names.filter((name) => name !== undefined);
    return exact.length === names.length ? [...new Set(exact)] : [];
  };
  return {
    hasReading: (id, name) =>
      parsed.length === 0 ||
      parsed.some(({ device, metric }) => device.matches(id) && (metric === undefined || metric.matches(name))),
    hasDevice: (id, names) =>
      parsed.length === 0 ||
      parsed.some(
        ({ device, metric }) =>
          device.matches(id) && (metric === undefined || names.some((name) => metric.matches(name))),
      ),
    exact: { devices: allExact(devices), metrics: allExact(metrics) },
  };
}
