import { isDeviceId } from '@muster/contract';

/**
 * The devices whose password is another one in a broker's next password file, or who are not in it any more. Services
 * and the shared account are none of them: what waits for a service is never ended.
 */
export function shutOutBetween(before: string, after: string): readonly string[] {
  const kept = new Set(after.split('\n'));
  return before
    .split('\n')
    .filter((line) => line !== '' && !kept.has(line))
    .map((line) => line.slice(0, Math.max(0, line.indexOf(':'))))
    .filter(isDeviceId);
}
