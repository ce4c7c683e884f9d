import { once } from 'node:events';
import type { OnModuleDestroy } from '@nestjs/common';
import type { Logger } from '@muster/service';
import type { Request, Response } from 'express';
import { Gauge, type Registry } from 'prom-client';
import { tokenOf } from '../access/access.guard.ts';
import type { Tokens } from '../access/tokens.ts';

const ALIVE_INTERVAL_MS = 15_000;
/** Whoever reads so much slower than events come is let go, and connects again when it can. */
const MAX_UNREAD_BYTES = 4 * 1024 * 1024;
/** The same for one that reads nothing at all for so long while something waits. */
const STALLED_LIMIT_MS = 20_000;
/** After how long a browser connects again. */
const RETRY_MS = 2_000;

/** A stream of server-sent events (HTML, section 9.2) to one reader. */
export interface OpenStream {
  /** Aborted when it has ended, whoever ended it. */
  readonly ended: AbortSignal;
  /** Sends; a reader that is too far behind is let go. */
  readonly offer: (text: string) => void;
  /** Sends; resolves when there is room for more, or the stream has ended. A reader that takes nothing is let go. */
  readonly send: (text: string) => Promise<void>;
  /** What is sent beside the comment that says that the stream is alive. */
  onAlive: () => string;
}

/**
 * The streams that are open. Each says every 15 s that it is alive, and ends when its token was revoked or has expired;
 * all end when the service does.
 */
export class OpenStreams implements OnModuleDestroy {
  readonly #open = new Set<Response>();
  #isStopping = false;

  constructor(
    private readonly tokens: Tokens,
    private readonly logger: Logger,
    metrics: Registry,
  ) {
    const open = this.#open;
    new Gauge({
      name: 'muster_registry_open_streams',
      help: 'Open streams of server-sent events',
      registers: [metrics],
      collect() {
        this.set(open.size);
      },
    });
  }

  /** Begins a stream; its request has been let in with a token. */
  open(request: Request, response: Response): OpenStream {
    response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache, no-transform',
      // nginx would gather the events.
      'x-accel-buffering': 'no',
    });
    response.write(`: open\nretry: ${RETRY_MS}\n\n`);
    const ended = new AbortController();
    const stream: OpenStream = {
      ended: ended.signal,
      offer: (text) => {
        if (response.writableLength > MAX_UNREAD_BYTES) response.destroy();
        else if (!response.writableEnded) response.write(text);
      },
      send: async (text) => {
        if (response.writableEnded || response.destroyed || response.write(text)) return;
        // By a timer: a signal of a timeout that only AbortSignal.any() knows may be collected before it fires.
        const stalled = setTimeout(() => response.destroy(), STALLED_LIMIT_MS);
        // Of a reader that has left there is nothing to tell.
        await once(response, 'drain', { signal: ended.signal }).catch(() => response.destroy());
        clearTimeout(stalled);
      },
      onAlive: () => '',
    };
    const alive = setInterval(() => {
      if (!response.writableNeedDrain) response.write(`: alive\n\n${stream.onAlive()}`);
      void this.#endWithToken(request, response);
    }, ALIVE_INTERVAL_MS);
    const close = (): void => {
      clearInterval(alive);
      this.#open.delete(response);
      ended.abort();
    };
    this.#open.add(response);
    response.on('close', close);
    request.on('error', () => response.destroy());
    // Whoever left while it was looked where to begin.
    if (response.destroyed) close();
    if (this.#isStopping) response.end();
    return stream;
  }

  /** Nest waits for open connections before anything else is stopped. */
  onModuleDestroy(): void {
    this.#isStopping = true;
    for (const response of this.#open) response.end(': the service stops; connect again\n\n');
  }

  async #endWithToken(request: Request, response: Response): Promise<void> {
    try {
      const session = await this.tokens.verify(tokenOf(request.headers) ?? '');
      if (session === undefined) response.end(': the token was revoked, or has expired\n\n');
    } catch (error) {
      this.logger.warn({ err: error }, 'whether the token of a stream still holds is not known; it is asked again');
    }
  }
}
