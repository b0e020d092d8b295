// Which desktops the table shows, and in which order.
import type { Desktop, Status, StatusFilter } from "../shared/api.ts";
import type { Usage } from "../shared/events.ts";
import { isActive, matches } from "../shared/selection.ts";

export const columns = ["desktop", "status", "viewers", "cpu", "memory", "network", "age", "until"] as const;
export type Column = (typeof columns)[number];
export type Direction = "ascending" | "descending";

export interface Order {
  column: Column;
  direction: Direction;
}

export interface Filter {
  /** Parts of the app's name or title or of the uid, each of which has to be there. */
  text: string;
  /** The app's name; all apps where it is empty. */
  app: string;
  status: StatusFilter | "all";
}

const fits = ({ text, app, status }: Filter) => (desktop: Desktop): boolean =>
  (status === "all" || (status === "active" ? isActive(desktop) : desktop.status === status)) &&
  (!app || desktop.app === app) &&
  matches(desktop, text);

/** Whether desktops that a filter selects may not be known yet: those that are active all are. */
export const needsPages = ({ status }: Filter): boolean => status === "all" || status === "asleep" || status === "failed";

const statuses: Status[] = ["ready", "starting", "restarting", "stopping", "failed", "asleep"];

/** When what runs of it was started; of what sleeps, when it was made. */
export const bornAt = (desktop: Desktop): number => Date.parse(desktop.started_at ?? desktop.created_at);

/** What a column is ordered by: what is absent comes last, whichever the direction. */
function value(desktop: Desktop, usage: Usage | undefined, column: Column): number | string | undefined {
  switch (column) {
    case "desktop":
      return `${desktop.title.toLowerCase()}\n${desktop.uid}`;
    case "status":
      return statuses.indexOf(desktop.status);
    case "viewers":
      return desktop.status === "ready" ? desktop.viewers : undefined;
    case "cpu":
      return usage?.cpu;
    case "memory":
      return usage?.memory;
    case "network":
      return usage && usage.received + usage.sent;
    case "age":
      // The youngest has the smallest age.
      return -bornAt(desktop);
    case "until":
      return desktop.until && Date.parse(desktop.until);
  }
}

/** The rows of the table. Equal ones keep the order in which they come, so that a further page comes after those before it. */
export function rows(
  all: Iterable<Desktop>,
  usage: Readonly<Record<string, Usage>>,
  filter: Filter,
  { column, direction }: Order,
): Desktop[] {
  const sign = direction === "ascending" ? 1 : -1;
  return [...all]
    .filter(fits(filter))
    .map((desktop) => ({ desktop, by: value(desktop, usage[desktop.uid], column) }))
    .sort((one, other) => {
      if (one.by === other.by) return 0;
      if (one.by === undefined) return 1;
      if (other.by === undefined) return -1;
      return one.by < other.by ? -sign : sign;
    })
    .map(({ desktop }) => desktop);
}

/** The rows that have to be in the page: those that are seen, and some around, so that a quick look finds them there. */
export function seen(count: number, rowHeight: number, top: number, height: number, around = 12): [number, number] {
  const first = Math.floor(top / rowHeight) - around;
  const last = Math.ceil((top + height) / rowHeight) + around;
  const within = (index: number) => Math.min(count, Math.max(0, index));
  // In steps, so that a small movement changes nothing.
  return [within(first - (((first % 4) + 4) % 4)), within(last + 4 - (((last % 4) + 4) % 4))];
}
