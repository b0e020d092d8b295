// What a test hears in a page that plays a desktop's sound (page/player.js).
import { PATIENCE } from "./wait.mjs";

/** Waits until a function that runs in the page, on what it plays, says true. */
export async function hears(page, what, ask, argument) {
  try {
    await page.waitForFunction(ask, argument, { polling: 20, timeout: PATIENCE * 1000 });
  } catch (error) {
    const seen = await page.evaluate(() => ({
      ...window.sound?.state,
      played: window.sound?.played(),
      error: window.sound?.error(),
      loudest: window.sound?.loudest(),
    }));
    throw new Error(`${what}: ${error.message.split("\n")[0]} (${JSON.stringify(seen)})`);
  }
}

/** Waits until 440 Hz are heard. */
export const hearsTheTone = (page) =>
  hears(page, "440 Hz", () => {
    const { hertz, decibels } = window.sound?.loudest() ?? {};
    return Math.abs(hertz - 440) < 12 && decibels > -40;
  });

/** Waits until two more seconds were played, of sound that came meanwhile. */
export async function goesOnPlaying(page) {
  const before = await page.evaluate(() => [window.sound.played(), window.sound.decoded()]);
  const more = ([played, decoded]) => window.sound.played() > played + 2 && window.sound.decoded() > decoded;
  await hears(page, "two more seconds", more, before);
}
