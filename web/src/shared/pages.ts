// The desktops of a search, the one that was used last first, read a page at a time.
import { effect, signal } from "@preact/signals";

import { ApiError } from "./api.ts";
import type { StatusFilter } from "./api.ts";
import type { Desktops } from "./desktops.ts";

/** How many desktops a page has. */
export const pageSize = 100;

/** How many are read anew at once when all is out of date. */
const pageMax = 1_000;

/** How long nothing is typed before a search begins, in milliseconds. */
const typingPause = 250;

const retryAfter = 2_000;

export interface Search {
  text: string;
  app?: string | undefined;
  status?: StatusFilter | undefined;
}

export class DesktopPages {
  /** In the order of the service; some may be deleted by now. `undefined` until the first page is there. */
  readonly uids = signal<readonly string[] | undefined>(undefined);
  /** Whether there are more. */
  readonly hasMore = signal(false);
  readonly isReading = signal(false);

  readonly #desktops: Desktops;
  readonly #search = signal<Search>({ text: "" });
  #next: string | undefined;
  #call = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #end: () => void;

  constructor(desktops: Desktops) {
    this.#desktops = desktops;
    let before: Search | undefined;
    this.#end = effect(() => {
      const search = this.#search.value;
      // Before the first reset nothing can be followed.
      if (desktops.resets.value === 0) return;
      const isTyped = before !== undefined && before.text !== search.text;
      before = search;
      this.#begin(isTyped ? typingPause : 0);
    });
  }

  close(): void {
    this.#end();
    this.#stop();
  }

  /** Looks for others. */
  search(search: Search): void {
    const { text, app, status } = this.#search.peek();
    if (search.text === text && search.app === app && search.status === status) return;
    this.#search.value = search;
  }

  /** Reads the next page. */
  async more(): Promise<void> {
    if (this.hasMore.peek() && !this.isReading.peek()) await this.#read(pageSize);
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#call.abort();
    this.#call = new AbortController();
  }

  #begin(pause: number): void {
    this.#stop();
    this.#next = undefined;
    const before = this.uids.peek()?.length ?? 0;
    const size = pause ? pageSize : Math.min(pageMax, Math.max(pageSize, before));
    this.isReading.value = true;
    this.#timer = setTimeout(() => void this.#read(size), pause);
  }

  async #read(limit: number): Promise<void> {
    const { signal } = this.#call;
    const { text, app, status } = this.#search.peek();
    this.isReading.value = true;
    try {
      const query = { sort: "used", limit, after: this.#next, q: text.trim().slice(0, 128) || undefined, app, status } as const;
      const page = await this.#desktops.page(query, signal);
      if (signal.aborted) return;
      const uids = page.desktops.map(({ uid }) => uid);
      this.uids.value = [...new Set([...(this.#next === undefined ? [] : this.uids.peek() ?? []), ...uids])];
      this.#next = page.next;
      this.hasMore.value = page.next !== undefined;
      this.isReading.value = false;
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      // That the service cannot be reached is shown elsewhere.
      this.#timer = setTimeout(() => void this.#read(limit), retryAfter);
    }
  }
}
