// Why a desktop lives, and until when.
import type { Desktop } from "./api.ts";
import { t } from "./i18n.ts";

/** In one sentence, in the page's language. */
export function because({ status, viewers, guests = 0, until, ended }: Desktop): string {
  if (status === "asleep" && ended) return t(`because.asleep.${ended}`);
  if (status !== "ready") return t(`because.${status}`);
  const keeping = viewers - guests;
  if (keeping > 0) return t(until ? "because.viewed.until" : "because.viewed", { n: keeping });
  if (guests > 0 && until) return t("because.guests.until");
  return t(until ? "because.unseen.until" : "because.unseen");
}
