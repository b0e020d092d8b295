// All desktops as they are now: read once, and kept true by the service's events.
import { signal } from "@preact/signals";

import { ApiError, desktops as readDesktops } from "./api.ts";
import type { Desktop } from "./api.ts";
import { EventFeed } from "./events.ts";
import type { DesktopEvent, Usage } from "./events.ts";

const retryAfter = 2_000;

export class Desktops {
  /** By uid; `undefined` until they were read for the first time. */
  readonly all = signal<ReadonlyMap<string, Desktop> | undefined>(undefined);
  /** What those that run use, by uid. */
  readonly usage = signal<Readonly<Record<string, Usage>>>({});
  readonly connected = signal(true);
  /** Why they could not be read. */
  readonly problem = signal<ApiError | undefined>(undefined);

  #current = new Map<string, Desktop>();
  /** What happened while the list is on its way, and comes after it. */
  #waiting: DesktopEvent[] | undefined;
  #drawing = false;
  readonly #feed: EventFeed;

  constructor({ usage = false } = {}) {
    this.#feed = new EventFeed(
      {
        onReset: () => void this.#read(),
        onEvent: (event) => {
          if (this.#waiting) this.#waiting.push(event);
          else this.#take(event);
        },
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
    this.#feed.close();
  }

  async #read(): Promise<void> {
    const already = this.#waiting !== undefined;
    this.#waiting = [];
    if (already) return;
    try {
      const list = await readDesktops();
      this.#current = new Map(list.map((desktop) => [desktop.uid, desktop]));
      this.problem.value = undefined;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.problem.value = error;
      setTimeout(() => void this.#read(), retryAfter);
    }
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting.forEach((event) => this.#take(event));
    if (!this.problem.value) this.#show();
  }

  #take(event: DesktopEvent): void {
    if (event.desktop) this.#current.set(event.uid, event.desktop);
    else this.#current.delete(event.uid);
    this.#show();
  }

  /** Once a frame, however many events there were. */
  #show(): void {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.all.value = new Map(this.#current);
    });
  }
}
