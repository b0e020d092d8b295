// Which of the desktops that are known are shown, and in which order.
import type { Desktop } from "./api.ts";

/** Whether a run of it is live. */
export const isActive = ({ status }: Desktop): boolean => status !== "asleep" && status !== "failed";

/** Whether a desktop has each word of a text in its name or its app's, as the service searches, or in its title. */
export function matches({ uid, app, title }: Desktop, text: string): boolean {
  const all = `${uid}\n${app}\n${title}`.toLowerCase();
  return text
    .toLowerCase()
    .split(/\s+/)
    .every((word) => all.includes(word));
}

/** Active desktops, then those that have changed, then those of the pages in their order; each once. */
export function inOrder(known: ReadonlyMap<string, Desktop>, changed: ReadonlySet<string>, paged: readonly string[], text: string): Desktop[] {
  const latestFirst = (one: Desktop, other: Desktop) => Date.parse(other.since) - Date.parse(one.since);
  const fitting = [...known.values()].filter((desktop) => matches(desktop, text));
  const active = fitting.filter(isActive).sort(latestFirst);
  const ended = fitting.filter((desktop) => !isActive(desktop) && changed.has(desktop.uid)).sort(latestFirst);
  const rest = paged.flatMap((uid) => {
    const desktop = known.get(uid);
    return desktop && !isActive(desktop) && !changed.has(uid) && matches(desktop, text) ? [desktop] : [];
  });
  return [...active, ...ended, ...rest];
}
