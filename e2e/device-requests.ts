import type { BulkResult, DevicePage, Problem } from '@muster/contract';
import type { SystemOfFile } from './system-of-file.ts';
import { curl } from './system.ts';

/** What a search has found, or why it could not be made. */
export interface SearchResult {
  readonly status: number;
  readonly ids: readonly string[];
  readonly detail: string;
}

/** Requests about many devices, as the tests of a file make them. */
export interface DeviceRequests {
  /** With a body as JSON; the route begins behind the version of the API. */
  readonly send: (method: string, route: string, body?: unknown) => ReturnType<typeof curl>;
  readonly search: (q: string) => Promise<SearchResult>;
  readonly bulk: (body: unknown) => Promise<{ readonly status: number; readonly body: BulkResult }>;
}

/** The requests of a file that asks for many devices at once. */
export function deviceRequests(system: SystemOfFile): DeviceRequests {
  const send: DeviceRequests['send'] = async (method, route, body) => {
    const json = body === undefined ? [] : ['-H', 'content-type: application/json', '-d', JSON.stringify(body)];
    return curl(system.address, `/api/v1${route}`, '-X', method, ...json);
  };
  return {
    send,
    search: async (q) => {
      const { status, body } = await curl(system.address, '/api/v1/devices', '-G', '--data-urlencode', `q=${q}`);
      const ids = status === 200 ? (body as DevicePage).items.map(({ id }) => id as string) : [];
      return { status, ids, detail: status === 200 ? '' : ((body as Problem).detail ?? '') };
    },
    bulk: async (body) => {
      const { status, body: result } = await send('POST', '/devices/bulk', body);
      return { status, body: result as BulkResult };
    },
  };
}
