import type { DeviceConfig, DeviceInfo } from '@muster/contract';
import type { PublishResult } from './command-machine.ts';

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 60_000;

/** When a broker that did not do something is tried again, after so many attempts before; times are milliseconds since 1970. */
export function nextAttemptMs(attempts: number, nowMs: number): number {
  return nowMs + Math.min(FIRST_PAUSE_MS * 2 ** Math.min(attempts, 16), LONGEST_PAUSE_MS);
}

/** Why a broker does not have a configuration; null where it took it, whether or not somebody subscribes. */
export function configFault({ broker, outcome }: PublishResult): string | null {
  switch (outcome) {
    case 'taken':
    case 'unsubscribed':
      return null;
    case 'away':
      return `${broker} does not answer; it gets it when it is back`;
    case 'refused':
      return `${broker} does not allow it: has its account the right to publish configurations?`;
  }
}

/**
 * The version that follows. It is higher than what the device goes by as well: somebody else may have told it that, and
 * a device takes no version that is not higher.
 */
export function versionAfter(newest: number, applied: number | undefined): number {
  return Math.max(newest, applied ?? 0) + 1;
}

/** Those of the topics that a broker does not hold as they are wanted; a wanted payload that is empty is no message. */
export function differing(wanted: ReadonlyMap<string, string>, held: ReadonlyMap<string, string>): readonly string[] {
  return [...wanted].flatMap(([topic, payload]) => ((held.get(topic) ?? '') === payload ? [] : [topic]));
}

/** Whether a device goes by what is desired, and why not. */
export function syncOf(
  desired: { readonly version: number } | null,
  reported: DeviceInfo['config'],
  brokers: DeviceConfig['brokers'],
): Pick<DeviceConfig, 'applied' | 'inSync' | 'explanation'> {
  const applied =
    reported === undefined
      ? null
      : { version: reported.version, error: reported.error ?? null, unknown: reported.unknown ?? 0 };
  const behind = brokers.filter(({ published }) => !published).map(({ broker }) => broker);
  const left = behind.length === 0 ? '' : ` ${behind.join(', ')} is still to get it.`;
  if (desired === null) {
    const goesBy =
      applied === null || applied.version === 0 ? '' : ` The device goes on by version ${applied.version}.`;
    return { applied, inSync: true, explanation: `No configuration is desired.${goesBy}${left}` };
  }
  if (applied?.version === desired.version)
    return { applied, inSync: true, explanation: `The device goes by version ${desired.version}.${left}` };
  const explanation =
    applied === null
      ? 'The device has not said which configuration it goes by.'
      : applied.error === null
        ? `The device goes by version ${applied.version} and has not said what became of version ${desired.version}.`
        : `The device goes by version ${applied.version} and refused another: ${applied.error}.`;
  return { applied, inSync: false, explanation: `${explanation}${left}` };
}
