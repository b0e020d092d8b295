// What happens to desktops, told by the service as it happens. Nothing is ever polled.
import type { Desktop } from "./api.ts";
import { address } from "./base.ts";

export type EventType =
  | "created"
  | "progress"
  | "ready"
  | "viewer_joined"
  | "viewer_left"
  | "idle"
  | "stopping"
  | "gone"
  | "failed"
  | "takeover"
  | "picture"
  | "expiring";

const types: EventType[] = [
  "created",
  "progress",
  "ready",
  "viewer_joined",
  "viewer_left",
  "idle",
  "stopping",
  "gone",
  "failed",
  "takeover",
  "picture",
  "expiring",
];

export interface DesktopEvent {
  type: EventType;
  uid: string;
  at: string;
  /** The desktop after it; absent when it was forgotten. */
  desktop?: Desktop;
  forgotten?: boolean;
}

/** What one desktop uses of its host. */
export interface Usage {
  /** Cores: 1 is one core. */
  cpu: number;
  /** Bytes. */
  memory: number;
  memory_limit?: number;
  /** Bytes a second. */
  received: number;
  sent: number;
}

export interface Listener {
  /** Some events may have been missed, at first all of them: read what there is anew. */
  onReset(): void;
  onEvent(event: DesktopEvent): void;
  onUsage?(desktops: Record<string, Usage>): void;
  /** Whether the service can be heard. */
  onConnected?(connected: boolean): void;
}

const retryFirst = 500;
const retryLast = 15_000;

/**
 * Follows one desktop or all of them until `close`. A lost connection is taken up again where it was, and so is one
 * that a hidden page has given up: a browser has only six connections for all pages of a host.
 */
export class EventFeed {
  readonly #address: string;
  readonly #listener: Listener;
  #source: EventSource | undefined;
  #retry = retryFirst;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(listener: Listener, { uid, usage = false }: { uid?: string; usage?: boolean } = {}) {
    const query = new URLSearchParams();
    if (uid !== undefined) query.set("uid", uid);
    if (usage) query.set("usage", "true");
    this.#address = address(`api/events${query.size ? `?${query}` : ""}`);
    this.#listener = listener;
    document.addEventListener("visibilitychange", this.#onVisibility);
    addEventListener("online", this.#onOnline);
    if (!document.hidden) this.#open();
  }

  close(): void {
    document.removeEventListener("visibilitychange", this.#onVisibility);
    removeEventListener("online", this.#onOnline);
    this.#end();
  }

  #end(): void {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = undefined;
  }

  #open(): void {
    this.#end();
    const source = new EventSource(this.#address);
    this.#source = source;
    source.addEventListener("hello", () => {
      this.#retry = retryFirst;
      this.#listener.onConnected?.(true);
    });
    // The browser's own reconnection resumes; for a new source it follows on `hello`.
    source.addEventListener("reset", () => this.#listener.onReset());
    for (const type of types) {
      source.addEventListener(type, ({ data }: MessageEvent<string>) => {
        this.#listener.onEvent(JSON.parse(data) as DesktopEvent);
      });
    }
    if (this.#listener.onUsage) {
      source.addEventListener("usage", ({ data }: MessageEvent<string>) => {
        this.#listener.onUsage?.((JSON.parse(data) as { desktops: Record<string, Usage> }).desktops);
      });
    }
    source.addEventListener("error", () => {
      this.#listener.onConnected?.(false);
      // A browser gives up for good on a status other than 200, such as a proxy's while the service restarts.
      if (source.readyState !== EventSource.CLOSED || source !== this.#source) return;
      this.#timer = setTimeout(() => this.#open(), this.#retry * (0.75 + Math.random() / 2));
      this.#retry = Math.min(this.#retry * 2, retryLast);
    });
  }

  #onVisibility = (): void => {
    if (document.hidden) this.#end();
    else if (!this.#source) this.#open();
  };

  #onOnline = (): void => {
    if (!document.hidden && this.#source?.readyState !== EventSource.OPEN) this.#open();
  };
}
