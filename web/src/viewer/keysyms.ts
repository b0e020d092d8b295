// From text to X11 keysyms, and to the order in which they are sent.

/** Keysyms of keys that make no character; the names and numbers are those of X11's keysymdef.h. */
export const keys = {
  BackSpace: 0xff08,
  Tab: 0xff09,
  Return: 0xff0d,
  Escape: 0xff1b,
  Insert: 0xff63,
  Delete: 0xffff,
  Home: 0xff50,
  Left: 0xff51,
  Up: 0xff52,
  Right: 0xff53,
  Down: 0xff54,
  PageUp: 0xff55,
  PageDown: 0xff56,
  End: 0xff57,
  Print: 0xff61,
  Menu: 0xff67,
  F1: 0xffbe,
  ShiftL: 0xffe1,
  ControlL: 0xffe3,
  AltL: 0xffe9,
  SuperL: 0xffeb,
} as const;

/** The first of the keysyms that stand for a Unicode character; the character's number is added (X11 protocol, appendix A). */
const UNICODE = 0x01000000;

/** The keysym that types a character, or `undefined` for a control character that no key has. */
export function keysymOf(character: string): number | undefined {
  const point = character.codePointAt(0) ?? 0;
  if (character === "\n" || character === "\r") return keys.Return;
  if (character === "\t") return keys.Tab;
  if (character === "\b") return keys.BackSpace;
  if ((point >= 0x20 && point <= 0x7e) || (point >= 0xa0 && point <= 0xff)) return point;
  return point > 0xff ? UNICODE + point : undefined;
}

/** The keysyms that type a text, in order; a line end of two characters is one. */
export function keysymsOf(text: string): number[] {
  return [...text.replaceAll("\r\n", "\n")].map(keysymOf).filter((keysym) => keysym !== undefined);
}

/** Milliseconds after a key that every keyboard layout has. */
const PAUSE = 5;
/** Milliseconds after one that the VNC server has to lend a spare key to: applications need time to learn of it before the next one. */
const PAUSE_AFTER_LENT = 40;

/** Sends keys one after the other, at a pace that applications can follow. */
export class Typist {
  readonly #press: (keysym: number) => void;
  readonly #pause: (milliseconds: number) => Promise<void>;
  #queue: number[] = [];
  #typing = false;

  constructor(press: (keysym: number) => void, pause = sleep) {
    this.#press = press;
    this.#pause = pause;
  }

  /** Sends these after what is still to be sent. */
  async type(keysyms: number[]): Promise<void> {
    this.#queue.push(...keysyms);
    if (this.#typing) return;
    this.#typing = true;
    for (let keysym = this.#queue.shift(); keysym !== undefined; keysym = this.#queue.shift()) {
      this.#press(keysym);
      await this.#pause(keysym >= UNICODE ? PAUSE_AFTER_LENT : PAUSE);
    }
    this.#typing = false;
  }

  /** Forgets what is still to be sent. */
  stop(): void {
    this.#queue = [];
  }
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** What to send when the text of a field that an on-screen keyboard writes into changed: what is gone is erased, what is new is typed. */
export function keysymsBetween(before: string, after: string): number[] {
  const old = [...before];
  const now = [...after];
  let same = 0;
  while (same < old.length && same < now.length && old[same] === now[same]) same += 1;
  const erased = Array.from({ length: old.length - same }, () => keys.BackSpace);
  return [...erased, ...keysymsOf(now.slice(same).join(""))];
}
