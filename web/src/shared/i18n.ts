// The language of the page: the browser's, until somebody chooses another one.
import { effect, signal } from "@preact/signals";

import { messages } from "../messages.ts";
import { choose, isLanguage, render } from "./text.ts";
import type { Language, Values } from "./text.ts";
import { kept } from "./storage.ts";

export type MessageKey = keyof typeof messages;

const store = kept("language");

const chosen = store.read();

/** Whatever is shown with `t` follows it. */
export const language = signal<Language>(isLanguage(chosen) ? chosen : choose(navigator.languages));

effect(() => {
  document.documentElement.lang = language.value;
});

export function setLanguage(wanted: Language): void {
  language.value = wanted;
  store.write(wanted);
}

/** The text of a key in the page's language. */
export const t = (key: MessageKey, values?: Values): string => render(messages[key], language.value, values);
