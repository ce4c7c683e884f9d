import type { Output } from './feed.ts';
import { screenLines, type Source } from './screen-lines.ts';
import { TerminalScreen, type ScreenKey } from './terminal-screen.ts';
import type { Clock } from './value-text.ts';
import { advance, emptyState, type ReceivedEvent, type WatchState } from './watch-model.ts';

/** Five frames a second, whatever comes: nobody reads faster. */
const FRAME_MS = 200;
/** What somebody types shows sooner. */
const KEY_FRAME_MS = 30;
/** The clock and the rate move on when nothing comes. */
const IDLE_FRAME_MS = 1_000;

/** What a dashboard shows, and whom it tells that somebody leaves. */
export interface DashboardOptions {
  readonly source: Source;
  readonly clock: Clock;
  readonly colour: boolean;
  readonly onQuit: () => void;
}

/** Collects what a feed tells, and draws it a few times a second. */
export class Dashboard implements Output {
  readonly #options: DashboardOptions;
  readonly #screen: TerminalScreen;
  #state: WatchState = emptyState;
  #waiting: ReceivedEvent[] = [];
  #top = 0;
  #page = 1;
  #help = false;
  #timer: NodeJS.Timeout | undefined;
  #dueAtMs = Number.POSITIVE_INFINITY;
  #lastFrameAtMs = 0;

  /** Takes the terminal; close() gives it back. */
  constructor(options: DashboardOptions) {
    this.#options = options;
    this.#screen = new TerminalScreen({
      colour: options.colour,
      onKey: (key) => this.#pressed(key),
      onResize: () => this.#frame(),
    });
    this.#frame();
  }

  /** What has been shown last. */
  get state(): WatchState {
    return this.#state;
  }

  readonly tell = (event: ReceivedEvent): void => {
    this.#waiting.push(event);
    this.#dueIn(this.#lastFrameAtMs + FRAME_MS - performance.now());
  };

  readonly close = (): void => {
    clearTimeout(this.#timer);
    this.#state = advance(this.#state, this.#waiting.splice(0)).state;
    this.#screen.close();
  };

  #pressed(key: ScreenKey): void {
    switch (key) {
      case 'quit':
        this.#options.onQuit();
        return;
      case 'help':
        this.#help = !this.#help;
        break;
      case 'up':
        this.#top -= 1;
        break;
      case 'down':
        this.#top += 1;
        break;
      case 'page-up':
        this.#top -= this.#page;
        break;
      case 'page-down':
        this.#top += this.#page;
        break;
      case 'home':
        this.#top = 0;
        break;
      case 'end':
        this.#top = Number.MAX_SAFE_INTEGER;
        break;
    }
    this.#dueIn(KEY_FRAME_MS);
  }

  /** The next frame comes in so long, or sooner where one is due already. */
  #dueIn(milliseconds: number): void {
    const dueAtMs = performance.now() + Math.max(0, milliseconds);
    if (dueAtMs >= this.#dueAtMs) return;
    clearTimeout(this.#timer);
    this.#dueAtMs = dueAtMs;
    this.#timer = setTimeout(() => this.#frame(), dueAtMs - performance.now());
  }

  #frame(): void {
    const { source, clock } = this.#options;
    this.#state = advance(this.#state, this.#waiting.splice(0)).state;
    const viewport = { ...this.#screen.size, top: this.#top, help: this.#help, nowMs: Date.now() };
    const { lines, top, page } = screenLines(this.#state, source, viewport, clock);
    this.#top = top;
    this.#page = page;
    this.#screen.draw(lines);
    this.#lastFrameAtMs = performance.now();
    this.#dueAtMs = Number.POSITIVE_INFINITY;
    this.#dueIn(IDLE_FRAME_MS);
  }
}
