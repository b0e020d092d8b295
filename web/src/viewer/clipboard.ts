// The clipboard both ways, as far as the browser lets a page have it.
import { PASTE_MAX, pasteSize } from "./paste.ts";

export interface ClipboardListener {
  /** A text for the desktop. */
  onText(text: string): void;
  /** A text is too long for the desktop, by its size in bytes. */
  onTooLong(size: number): void;
  /** Whether a text of the desktop is there that the browser did not let the page put into the clipboard. */
  onHeld(held: boolean): void;
}

/**
 * Between this machine's clipboard and the desktop's. What the desktop copies is written at once where the page has the
 * focus, and otherwise as soon as it has; what is copied here is read when the page gets the focus, if the browser was told
 * that it may.
 */
export class Clipboard {
  readonly #listener: ClipboardListener;
  /** The text that both sides have, so that none comes back as an echo. */
  #shared: string | undefined;
  #held: string | undefined;
  enabled = true;

  constructor(listener: ClipboardListener) {
    this.#listener = listener;
    addEventListener("focus", () => void this.#onFocus());
  }

  /** Whether this browser has the calls at all: not on a page without TLS that is not on this machine. */
  static get available(): boolean {
    return typeof navigator.clipboard?.writeText === "function";
  }

  /** Whether texts that are copied here reach the desktop by themselves; `prompt` where a person can still say so. */
  static async reading(): Promise<PermissionState> {
    if (typeof navigator.clipboard?.readText !== "function") return "denied";
    try {
      return (await navigator.permissions.query({ name: "clipboard-read" as PermissionName })).state;
    } catch {
      // Firefox and Safari know no such permission: they ask for each time.
      return "denied";
    }
  }

  /** Asks the person, from inside of a gesture, and reads when they agree. */
  async allow(): Promise<boolean> {
    return this.#read();
  }

  /** The desktop copied this. */
  async fromDesktop(text: string): Promise<void> {
    this.#shared = text;
    if (!this.enabled) return;
    this.#held = text;
    await this.#write();
  }

  /** Sends a text to the desktop, and says whether the desktop takes one as long. */
  give(text: string): boolean {
    // Also one that is too long: it is complained about once, and not each time the page gets the focus.
    this.#shared = text;
    const size = pasteSize(text);
    if (size > PASTE_MAX) {
      this.#listener.onTooLong(size);
      return false;
    }
    this.#listener.onText(text);
    return true;
  }

  /** A new connection has to hear again what the clipboard holds. */
  reset(): void {
    this.#shared = undefined;
    void this.#onFocus();
  }

  async #onFocus(): Promise<void> {
    if (!this.enabled) return;
    await this.#write();
    if ((await Clipboard.reading()) === "granted") await this.#read();
  }

  async #write(): Promise<void> {
    const text = this.#held;
    if (text === undefined) return;
    try {
      await navigator.clipboard.writeText(text);
      if (this.#held === text) this.#held = undefined;
    } catch {
      // No focus, no TLS, or not allowed: the panel has the text.
    }
    this.#listener.onHeld(this.#held !== undefined);
  }

  async #read(): Promise<boolean> {
    try {
      const text = await navigator.clipboard.readText();
      if (text !== "" && text !== this.#shared) this.give(text);
      return true;
    } catch {
      return false;
    }
  }
}
