import { BrokerError } from './broker-target.ts';

/**
 * Resolves when every connection has been tried: one whose broker is away goes on trying by itself.
 * @throws BrokerError `subscription-refused`: that no waiting mends
 */
export async function whenEachWasTried(
  connections: readonly { readonly whenReady: (timeoutMs: number) => Promise<void> }[],
  timeoutMs: number,
): Promise<void> {
  const results = await Promise.allSettled(connections.map((connection) => connection.whenReady(timeoutMs)));
  for (const result of results) {
    const isRefused =
      result.status === 'rejected' &&
      result.reason instanceof BrokerError &&
      result.reason.code === 'subscription-refused';
    if (isRefused) throw result.reason;
  }
}

const CHECK_MS = 1_000;

/**
 * Resolves when a connection is ready, however long that takes: one that is refused goes on trying as well.
 * @throws BrokerError `closed`; the reason of the signal
 */
export async function whenConnected(
  connection: { readonly ready: boolean; readonly whenReady: (timeoutMs: number) => Promise<void> },
  signal: AbortSignal,
): Promise<void> {
  while (!connection.ready) {
    signal.throwIfAborted();
    await connection.whenReady(CHECK_MS).catch((error: unknown) => {
      if (!(error instanceof BrokerError) || error.code === 'closed') throw error;
    });
  }
}

/**
 * The result of a promise, if it comes in time.
 * @throws BrokerError `no-answer` after `timeoutMs`
 */
export async function within<T>(promise: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  try {
    return await Promise.race([
      promise,
      new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new BrokerError('no-answer', `no answer within ${timeoutMs} ms`)), timeoutMs);
      }),
    ]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Does something with each of many things, so many at a time.
 * @throws what the first one throws that fails; no further one is begun then
 */
export async function inParallel<Item>(
  items: Iterable<Item>,
  limit: number,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  const left = items[Symbol.iterator]();
  // Seen by every worker: the compiler would take a variable of its own for unchanged.
  const all = { hasFailed: false };
  const worker = async (): Promise<void> => {
    for (let next = left.next(); next.done !== true && !all.hasFailed; next = left.next()) await work(next.value);
  };
  const workers = Array.from({ length: limit }, () =>
    worker().catch((error: unknown) => {
      all.hasFailed = true;
      throw error;
    }),
  );
  const results = await Promise.allSettled(workers);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}
