import { useEffect, useState } from 'react';
import { devicePageSchema, type Device } from '@muster/contract';

/** What the page knows of the fleet. */
export interface LiveFleet {
  readonly devices: readonly Device[];
  /** Undefined until the first answer has come. */
  readonly updatedAt: Date | undefined;
  /** Why the figures are not fresh. */
  readonly fault: string | undefined;
}

const REFRESH_MS = 1_000;

async function fetchDevices(signal: AbortSignal): Promise<readonly Device[]> {
  const devices: Device[] = [];
  for (let cursor: string | null | undefined; cursor !== null;) {
    const query = new URLSearchParams({ limit: '1000', ...(cursor === undefined ? {} : { cursor }) });
    const answer = await fetch(`/api/v1/devices?${query}`, { signal });
    if (!answer.ok) throw new Error(`the API answered ${answer.status}`);
    const page = devicePageSchema.parse(await answer.json());
    devices.push(...page.items);
    cursor = page.next;
  }
  return devices;
}

/** All devices, asked for every second; the last known ones stay while the API is away. */
export function useLiveFleet(): LiveFleet {
  const [fleet, setFleet] = useState<LiveFleet>({ devices: [], updatedAt: undefined, fault: undefined });
  useEffect(() => {
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const refresh = async (): Promise<void> => {
      try {
        const devices = await fetchDevices(abort.signal);
        setFleet({ devices, updatedAt: new Date(), fault: undefined });
      } catch (error) {
        if (abort.signal.aborted) return;
        setFleet((before) => ({ ...before, fault: error instanceof Error ? error.message : String(error) }));
      }
      timer = setTimeout(() => void refresh(), REFRESH_MS);
    };
    void refresh();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, []);
  return fleet;
}
