// How this browser shows desktops: what the address says, else what was chosen last, else what suits most.
import { signal, type Signal } from "@preact/signals";

import { kept } from "../shared/storage.ts";
import type { Query, ResizeMode } from "./query.ts";

/** noVNC's own. */
const QUALITY = 6;
const COMPRESSION = 2;
/** A desktop made as narrow as a phone's window could not be used, and everybody would see it so. */
const NARROW = 640;

export interface Settings {
  resize: Signal<ResizeMode>;
  /** Whether a desktop of the window's size has the screen's own pixels. */
  native: Signal<boolean>;
  quality: Signal<number>;
  compression: Signal<number>;
  viewOnly: Signal<boolean>;
  panning: Signal<boolean>;
  /** Whether clipboards follow each other by themselves. */
  clipboard: Signal<boolean>;
  /** Whether the Command keys of a Mac are the desktop's Control keys. */
  commandIsControl: Signal<boolean>;
}

export function readSettings(query: Query): Settings {
  const level = (name: string) => {
    const text = kept(`viewer.${name}`).read();
    return text !== null && /^\d$/.test(text) ? Number(text) : undefined;
  };
  const resize = (["scale", "remote", "off"] as const).find((mode) => mode === kept("viewer.resize").read());
  const suits: ResizeMode = query.viewOnly || innerWidth < NARROW ? "scale" : "remote";
  return {
    resize: signal(query.resize ?? resize ?? suits),
    native: signal(kept("viewer.native").read() !== "off"),
    quality: signal(query.quality ?? level("quality") ?? QUALITY),
    compression: signal(query.compression ?? level("compression") ?? COMPRESSION),
    viewOnly: signal(query.viewOnly),
    panning: signal(false),
    clipboard: signal(kept("viewer.clipboard").read() !== "off"),
    commandIsControl: signal(kept("viewer.command").read() !== "off"),
  };
}

/** Remembers a choice for the next desktop. */
export const remember = (name: "resize" | "quality" | "compression" | "clipboard" | "command" | "native", value: string | number): void =>
  kept(`viewer.${name}`).write(String(value));
