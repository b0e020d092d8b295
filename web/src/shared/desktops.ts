// Desktops as they are now: those that are active, those of which pages were read, and those to which something happened.
// There may be a hundred thousand more, which nobody reads in one piece.
import { signal } from "@preact/signals";

import { ApiError, page as readPage } from "./api.ts";
import type { Desktop, Page, PageQuery } from "./api.ts";
import { EventFeed } from "./events.ts";
import type { DesktopEvent, Usage } from "./events.ts";

const retryAfter = 2_000;

/** As many as the service gives at once. */
const pageMax = 1_000;

export class Desktops {
  /** By uid; `undefined` until the active ones were read for the first time. */
  readonly all = signal<ReadonlyMap<string, Desktop> | undefined>(undefined);
  /** What those that run use, by uid. */
  readonly usage = signal<Readonly<Record<string, Usage>>>({});
  readonly connected = signal(true);
  /** Why they could not be read. */
  readonly problem = signal<ApiError | undefined>(undefined);
  /** Grows whenever all that was read before is out of date. */
  readonly resets = signal(0);
  /** Of those in `all`, to which something has happened since. */
  readonly changed = new Set<string>();

  #current = new Map<string, Desktop>();
  /** For each read under way, to which desktops something has happened meanwhile. */
  readonly #reads = new Set<Set<string>>();
  #complete = false;
  #drawing = false;
  /** Of the active ones. */
  #call = new AbortController();
  readonly #feed: EventFeed;

  constructor({ usage = false } = {}) {
    this.#feed = new EventFeed(
      {
        onReset: () => this.#reset(),
        onEvent: (event) => this.#take(event),
        onConnected: (connected) => {
          this.connected.value = connected;
        },
        ...(usage && {
          onUsage: (all: Record<string, Usage>) => {
            this.usage.value = all;
          },
        }),
      },
      { usage },
    );
  }

  /** Follows them no more. */
  close(): void {
    this.#call.abort();
    this.#feed.close();
  }

  /** Reads a page, and follows the desktops of it from then on. Whoever calls it aborts it at a reset, and reads again. */
  async page(query: PageQuery, signal: AbortSignal): Promise<Page> {
    const meanwhile = new Set<string>();
    this.#reads.add(meanwhile);
    try {
      const page = await readPage(query, signal);
      signal.throwIfAborted();
      for (const desktop of page.desktops) {
        // What an event tells is newer, or is followed by one that is.
        if (!meanwhile.has(desktop.uid)) this.#current.set(desktop.uid, desktop);
      }
      this.#show();
      return page;
    } finally {
      this.#reads.delete(meanwhile);
    }
  }

  #reset(): void {
    this.#current = new Map();
    this.changed.clear();
    this.#complete = false;
    this.#call.abort();
    this.#call = new AbortController();
    this.resets.value++;
    void this.#readActive(this.#call.signal);
  }

  async #readActive(signal: AbortSignal): Promise<void> {
    try {
      let after: string | undefined;
      do {
        ({ next: after } = await this.page({ status: "active", limit: pageMax, after }, signal));
      } while (after !== undefined);
      this.problem.value = undefined;
      this.#complete = true;
      this.#show();
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      this.problem.value = error;
      setTimeout(() => !signal.aborted && void this.#readActive(signal), retryAfter);
    }
  }

  #take(event: DesktopEvent): void {
    this.changed.add(event.uid);
    this.#reads.forEach((meanwhile) => meanwhile.add(event.uid));
    if (event.desktop) this.#current.set(event.uid, event.desktop);
    else this.#current.delete(event.uid);
    this.#show();
  }

  /** Once a frame, however many events there were. */
  #show(): void {
    if (this.#drawing || !this.#complete) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      if (this.#complete) this.all.value = new Map(this.#current);
    });
  }
}
