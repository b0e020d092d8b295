// The time of the page, for ages and remaining times.
import { signal } from "@preact/signals";

/** Milliseconds since 1970; changes every second that the page is seen. */
export const now = signal(Date.now());

setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 1_000);
