// When a desktop that is not used is deleted.
import type { Desktop } from "./api.ts";
import { language, t } from "./i18n.ts";

/** The longest time that the service announces a deletion before, in milliseconds. */
const announced = 7 * 86_400_000;

/** Whether the deletion is so near that whoever sees the desktop should know. */
export const expiresSoon = ({ forgotten_at }: Desktop, now: number): boolean =>
  forgotten_at !== undefined && Date.parse(forgotten_at) - now <= announced;

/** In one sentence, in the page's language; empty where it is kept for ever. */
export const expiry = ({ forgotten_at }: Desktop): string =>
  forgotten_at ? t("expires", { date: new Date(forgotten_at).toLocaleDateString(language.value, { dateStyle: "long" }) }) : "";
