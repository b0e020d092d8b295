// Waiting for something to become true, with a limit that says what was waited for.
import { setTimeout as pause } from "node:timers/promises";

/** How many seconds a test waits, where it does not say otherwise: long enough for a machine that does much else. */
export const PATIENCE = 60;

/** Asks until the answer is truthy and returns it; `seconds` is the limit. */
export async function until(what, ask, seconds = PATIENCE) {
  const deadline = Date.now() + seconds * 1000;
  let last;
  for (;;) {
    try {
      last = await ask();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) {
      throw new Error(`${what}: not within ${seconds} s (last answer: ${last?.message ?? JSON.stringify(last)})`);
    }
    await pause(50);
  }
}
