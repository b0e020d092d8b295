// Keys that are the page's and not the desktop's, and keyboards that are not keys.
import { keysymsBetween, type Typist } from "./keysyms.ts";

/** What has to be held together to leave the desktop's keyboard, and to go back to it. */
const CHORD = /^(Control|Alt|Shift)(Left|Right)$/;

/** How the chord is written for people and for screen readers. */
export const CHORD_TEXT = "Ctrl+Alt+Shift";

/** Calls when control, alt and shift are held together, wherever the focus is; noVNC takes every other key. */
export function onChord(listener: () => void): void {
  addEventListener(
    "keydown",
    (event) => {
      if (!event.ctrlKey || !event.altKey || !event.shiftKey || !CHORD.test(event.code) || event.repeat) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      listener();
    },
    { capture: true },
  );
}

/**
 * Has noVNC release every key that it thinks is held, as it does when the window loses the focus. When only the canvas loses it,
 * to the toolbar, the releases would go there, and the keys stay down on the desktop.
 */
export function releaseKeys(): void {
  dispatchEvent(new Event("blur"));
}

/** Milliseconds in which a browser says what is pasted; some ask their main process first. */
const PASTE_WAIT = 150;

/**
 * Lets the browser's own paste happen where control and V are pressed in the desktop: that needs no permission, and works on
 * pages without TLS. `onPaste` gets the text before `press` has to press the V that was held back.
 */
export function onPasteKeys(
  screen: Element,
  { wanted, onPaste, press }: { wanted: () => boolean; onPaste: (text: string) => void; press: (keysym: number) => void },
): void {
  let held: { timer: ReturnType<typeof setTimeout>; keysym: number } | undefined;
  const go = () => {
    if (!held) return;
    clearTimeout(held.timer);
    press(held.keysym);
    held = undefined;
  };
  addEventListener(
    "keydown",
    (event) => {
      const isPaste = event.ctrlKey && !event.altKey && !event.metaKey && event.key.toLowerCase() === "v";
      if (!isPaste || !(event.target instanceof Node) || !screen.contains(event.target) || !wanted()) return;
      event.stopImmediatePropagation();
      go();
      held = { timer: setTimeout(go, PASTE_WAIT), keysym: event.key.charCodeAt(0) };
    },
    { capture: true },
  );
  addEventListener(
    "paste",
    (event) => {
      if (!held) return;
      event.preventDefault();
      const text = event.clipboardData?.getData("text/plain") ?? "";
      if (text !== "") onPaste(text);
      go();
    },
    { capture: true },
  );
}

/** What a field holds so that there is always something to erase. */
const FILLING = "_".repeat(64);
/** Characters after which the field is filled anew. */
const LONGEST = 512;
/** Up to here letters are composed one by one, for accents; a text above is sent when it is chosen. */
const LAST_LATIN = 0x24f;

/** The system's on-screen keyboard: it writes into a field that nobody sees, and what changes there is typed. */
export class TouchKeyboard {
  readonly #field: HTMLTextAreaElement;
  readonly #typist: Typist;
  #before = FILLING;

  constructor(field: HTMLTextAreaElement, typist: Typist, onShown: (shown: boolean) => void) {
    this.#field = field;
    this.#typist = typist;
    field.addEventListener("focus", () => {
      this.#fill();
      onShown(true);
    });
    field.addEventListener("blur", () => onShown(false));
    field.addEventListener("input", (event) => this.#onInput((event as InputEvent).isComposing));
    field.addEventListener("compositionend", () => this.#onInput(false));
  }

  toggle(): void {
    if (document.activeElement === this.#field) this.#field.blur();
    else this.#field.focus({ preventScroll: true });
  }

  #onInput(composing: boolean): void {
    const { value } = this.#field;
    const isUnfinished = composing && [...value].some((character) => (character.codePointAt(0) ?? 0) > LAST_LATIN);
    if (isUnfinished) return;
    void this.#typist.type(keysymsBetween(this.#before, value));
    this.#before = value;
    if (!composing && (value.length > LONGEST || value.length < FILLING.length / 2)) this.#fill();
  }

  #fill(): void {
    this.#field.value = FILLING;
    this.#before = FILLING;
    this.#field.setSelectionRange(FILLING.length, FILLING.length);
  }
}
