// Light and dark: as the system says, until somebody chooses.
import { effect, signal } from "@preact/signals";

import { kept } from "./storage.ts";

export const themes = ["auto", "light", "dark"] as const;
export type Theme = (typeof themes)[number];

const store = kept("theme");

export const theme = signal<Theme>(themes.find((name) => name === store.read()) ?? "auto");

effect(() => {
  document.documentElement.dataset["theme"] = theme.value;
});

export function setTheme(wanted: Theme): void {
  theme.value = wanted;
  store.write(wanted);
}
