// Tells a desktop how large its applications draw, so that text keeps its size where the desktop has the screen's own pixels.
import { effect, signal, type ReadonlySignal } from "@preact/signals";

import { delayBefore } from "./backoff.ts";

/** Milliseconds before the first attempt to connect again. */
const RETRY = 2000;
/** The largest scale that a desktop takes. */
const MAX = 4;

/** Pixels of the screen for one of CSS, along a side: from 1 to 4, whole or not. It changes with the browser's zoom and with the screen. */
export const pixelRatio = signal(1);

const look = () => (pixelRatio.value = Math.min(MAX, Math.max(1, devicePixelRatio)));
function follow(): void {
  look();
  // A window that goes to another screen may keep its size in CSS pixels.
  matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener("change", follow, { once: true });
}
follow();
addEventListener("resize", look);

/** A connection to a desktop's stream `display`: lines of text in binary messages, of which the newest connection's last one counts. */
export class DisplayScale {
  readonly #scale: ReadonlySignal<number>;
  readonly #onEnded: () => void;
  #socket: WebSocket | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #attempt = 0;

  /** `onEnded` is called when the service ends the connection, perhaps because this page lost control. */
  constructor(scale: ReadonlySignal<number>, onEnded: () => void) {
    this.#scale = scale;
    this.#onEnded = onEnded;
  }

  /** Connects, and again when the connection ends. */
  start(address: string): void {
    this.stop();
    this.#attempt = 0;
    this.#open(address);
  }

  stop(): void {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
  }

  #open(address: string): void {
    const socket = new WebSocket(address);
    this.#socket = socket;
    let stopTelling: (() => void) | undefined;
    socket.addEventListener("open", () => {
      this.#attempt = 0;
      stopTelling = effect(() => socket.send(new TextEncoder().encode(`scale ${this.#scale.value}\n`)));
    });
    socket.addEventListener("close", () => {
      stopTelling?.();
      if (this.#socket !== socket) return;
      this.#timer = setTimeout(() => this.#open(address), delayBefore(this.#attempt++, RETRY));
      this.#onEnded();
    });
  }
}
