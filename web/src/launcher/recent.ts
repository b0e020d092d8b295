// In which order desktops are offered.
import type { Desktop } from "../shared/api.ts";

const runs = ({ status }: Desktop): boolean => status !== "asleep" && status !== "failed";

/** Those that run first, then those that ended last; each group by when it last changed. */
export const recent = (desktops: Iterable<Desktop>): Desktop[] =>
  [...desktops].sort(
    (one, other) => Number(runs(other)) - Number(runs(one)) || Date.parse(other.since) - Date.parse(one.since),
  );
