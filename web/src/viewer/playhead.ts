// Where to go on playing something that is live.

/** Parts that are there, in seconds, from and to; in order. */
export type Ranges = [number, number][];

/** Seconds behind what is newest from which a player jumps ahead. */
const LATE = 0.5;
/** Seconds behind what is newest to which it jumps: less would run dry at once. */
const MARGIN = 0.1;
/** Browsers count times of media in larger steps than JavaScript. */
const ROUNDING = 0.01;

/** Where to jump to, or `undefined` where playing just goes on. */
export function target(ranges: Ranges, now: number): number | undefined {
  const newest = ranges.at(-1);
  if (!newest) return undefined;
  const [start, end] = newest;
  if (end - now > LATE) return Math.max(start, end - MARGIN);
  // After a pause in the stream the clock stands before the gap, and would for ever.
  return now < start - ROUNDING ? start : undefined;
}
