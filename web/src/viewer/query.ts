// The names that people know from noVNC's own page, in the address of the viewer.

/** How the desktop is fitted to the window: scaled, resized to it, or shown pixel by pixel. */
export type ResizeMode = "scale" | "remote" | "off";

/** What an address asks for; what it does not say is left to the page. */
export interface Query {
  /** `true` also starts a desktop that sleeps, `false` waits for a click; unsaid connects to one that runs. */
  autoconnect: boolean | undefined;
  viewOnly: boolean;
  resize: ResizeMode | undefined;
  /** Of JPEG, 0 (coarse) to 9. */
  quality: number | undefined;
  /** Of everything else, 0 (none) to 9. */
  compression: number | undefined;
  reconnect: boolean;
  /** Until the first attempt to reconnect, in milliseconds. */
  reconnectDelay: number | undefined;
  /** Whether others may stay connected, as far as the desktop lets this viewer decide. */
  shared: boolean;
  /** A dot where the desktop shows no pointer. */
  showDot: boolean;
  bell: boolean;
}

const YES = new Set(["", "1", "true", "yes", "on"]);
const NO = new Set(["0", "false", "no", "off"]);
const DELAY_MAX = 600_000;

/**
 * Reads the part of an address after `?` and the one after `#`, which counts more, as in noVNC.
 * `ignored` says what has a value that means nothing.
 */
export function readQuery(search: string, hash = ""): { query: Query; ignored: string[] } {
  const said = new Map([...new URLSearchParams(search), ...new URLSearchParams(hash.replace(/^#/, ""))]);
  const ignored: string[] = [];

  function read<T>(name: string, convert: (text: string) => T | undefined, right: string): T | undefined {
    const text = said.get(name);
    if (text === undefined) return undefined;
    const value = convert(text.trim().toLowerCase());
    if (value === undefined) ignored.push(`${name}=${text}: ${right}`);
    return value;
  }
  const flag = (name: string) =>
    read(name, (text) => (YES.has(text) ? true : NO.has(text) ? false : undefined), "this is either true or false");
  const number = (name: string, max: number) =>
    read(
      name,
      (text) => (/^\d{1,9}$/.test(text) && Number(text) <= max ? Number(text) : undefined),
      `this is a number from 0 to ${max}`,
    );

  const query: Query = {
    autoconnect: flag("autoconnect"),
    viewOnly: flag("view_only") ?? false,
    resize: read(
      "resize",
      (text) => (text === "scale" || text === "remote" || text === "off" ? text : undefined),
      "this is scale, remote or off",
    ),
    quality: number("quality", 9),
    compression: number("compression", 9),
    reconnect: flag("reconnect") ?? true,
    reconnectDelay: number("reconnect_delay", DELAY_MAX),
    shared: flag("shared") ?? true,
    showDot: flag("show_dot") ?? false,
    bell: flag("bell") ?? true,
  };
  return { query, ignored };
}
