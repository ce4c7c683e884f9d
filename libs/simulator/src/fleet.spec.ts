import { describe, expect, it, vi } from 'vitest';
import { DeviceCore } from './device-core.ts';
import { plannedDevices, VirtualFleet } from './fleet.ts';
import { VirtualTime } from './virtual-time.ts';

describe('a fleet', () => {
  it('counts as asleep who has gone to sleep, and not who has not begun', async () => {
    const fleet = new VirtualFleet({
      devices: plannedDevices(2, 'sleepy', 'nap-'),
      // Nobody listens there: who does not find a broker sleeps after 30 s.
      brokerOf: () => ({ name: 'nowhere', url: 'mqtt://127.0.0.1:9', username: undefined, password: undefined }),
      ...{ profile: 'sleepy', faults: [], seed: 1, connectsPerSecond: 1_000 },
      core: await DeviceCore.load(),
      time: new VirtualTime(200),
    });
    expect(fleet.figures).toMatchObject({ devices: 2, online: 0, asleep: 0 });
    fleet.start();
    await vi.waitFor(() => expect(fleet.figures).toMatchObject({ online: 0, asleep: 2 }), { timeout: 10_000 });
    await fleet.stop(1_000);
  });
});
