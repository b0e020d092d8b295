// How long to wait before the next attempt to reconnect.

const FIRST = 500;
const LONGEST = 15_000;

/**
 * Milliseconds before attempt number `attempt`, counted from 0. Each is up to twice as long as the one before, and between
 * half and all of that: many viewers that lost the same service must not come back in the same moment.
 */
export function delayBefore(attempt: number, first = FIRST, random: () => number = Math.random): number {
  const longest = Math.max(LONGEST, first);
  const bound = Math.min(longest, first * 2 ** Math.min(attempt, 16));
  return Math.round(bound * (0.5 + random() / 2));
}
