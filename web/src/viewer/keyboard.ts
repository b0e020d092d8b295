// Keys that are the page's and not the desktop's, and keyboards that are not keys.
import { keysymsBetween, type Typist } from "./keysyms.ts";
import { layoutIsForeign, shortcutKey, type Press } from "./shortcuts.ts";

/** Whether shortcuts are held with Command here, and Option writes characters. noVNC goes by the same sign. */
export const onMac = /mac|ip(ad|hone|od)/i.test(navigator.platform);

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

/**
 * Makes keys that are pressed in the desktop what the desktop can use, before noVNC hears of them: shortcuts get a Latin letter on
 * layouts that have none, and on a Mac, Command is Control as long as `commandIsControl`.
 */
export function translateKeys(screen: Element, commandIsControl: () => boolean): void {
  let foreignLayout = false;
  const translate = (event: KeyboardEvent) => {
    if (!isIn(screen, event)) return;
    if (event.key === "Meta" && onMac && commandIsControl()) {
      // As long as Command is held, macOS reports no releases of other keys; noVNC sends those itself where it sees `metaKey`.
      replace(event, { key: "Control", code: event.code === "MetaRight" ? "ControlRight" : "ControlLeft", metaKey: false });
      return;
    }
    if (event.metaKey && onMac && commandIsControl() && /^(Shift|Control|Alt)$/.test(event.key)) {
      // noVNC would release these at once, but macOS does report their releases.
      replace(event, { metaKey: false });
      return;
    }
    if (event.type !== "keydown") return;
    const press = pressOf(event);
    foreignLayout = layoutIsForeign(foreignLayout, press);
    const key = shortcutKey(press, foreignLayout);
    if (key !== undefined) replace(event, { key });
  };
  addEventListener("keydown", translate, { capture: true });
  addEventListener("keyup", translate, { capture: true });
}

function pressOf(event: KeyboardEvent): Press {
  const { key, code, keyCode, shiftKey } = event;
  return {
    key,
    code,
    keyCode,
    shiftKey,
    held: event.ctrlKey || event.metaKey || (event.altKey && !onMac),
    altGraph: event.getModifierState("AltGraph") || (event.altKey && onMac),
    capsLock: event.getModifierState("CapsLock"),
  };
}

/** Has an event say something else to the listeners that follow. */
function replace(event: KeyboardEvent, values: { key?: string; code?: string; metaKey?: boolean }): void {
  for (const [name, value] of Object.entries(values)) Object.defineProperty(event, name, { value });
}

const isIn = (screen: Element, { target }: Event): boolean => target instanceof Node && screen.contains(target);

/** Milliseconds in which a browser says what is pasted; some ask their main process first. */
const PASTE_WAIT = 150;

/**
 * Lets the browser's own paste happen where its keys (Ctrl+V, or Command+V on a Mac) are pressed in the desktop: that needs no
 * permission, and works on pages without TLS. `onPaste` gets the text before `press` has to press the V that was held back; when it
 * says that the desktop does not take the text, V is not pressed, which would paste another one.
 */
export function onPasteKeys(
  screen: Element,
  { wanted, onPaste, press }: { wanted: () => boolean; onPaste: (text: string) => boolean; press: (keysym: number) => void },
): void {
  let held: { timer: ReturnType<typeof setTimeout>; keysym: number } | undefined;
  const drop = () => {
    clearTimeout(held?.timer);
    held = undefined;
  };
  const go = () => {
    if (held) press(held.keysym);
    drop();
  };
  addEventListener(
    "keydown",
    (event) => {
      const [modifier, other] = onMac ? [event.metaKey, event.ctrlKey] : [event.ctrlKey, event.metaKey];
      const isPaste = modifier && !other && !event.altKey && event.key.toLowerCase() === "v";
      if (!isPaste || !isIn(screen, event) || !wanted()) return;
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
      if (text === "" || onPaste(text)) go();
      else drop();
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
