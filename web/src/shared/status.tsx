// The state of a desktop, as every page shows it.
import type { Desktop, Progress, Status } from "./api.ts";
import { t } from "./i18n.ts";

export const StatusBadge = ({ status }: { status: Status }) => <span class={`status ${status}`}>{t(`status.${status}`)}</span>;

/** The same, and for one that sleeps why, where that is known. */
export const StatusLine = ({ desktop: { status, ended } }: { desktop: Desktop }) => (
  <>
    <StatusBadge status={status} />
    {status === "asleep" && ended && <span class="hint">{t(`ended.${ended}`)}</span>}
  </>
);

/** What a start is at; the service's last step is followed by the page's own. */
export type Step = Progress | { step: "opening"; percent?: never };

/** What a start is doing, in words. */
export function progressText(progress: Step | undefined): string {
  if (!progress) return t("progress.asked");
  if (progress.step === "pulling" && progress.percent !== undefined) {
    return t("progress.pulling.percent", { percent: Math.floor(progress.percent) });
  }
  return t(`progress.${progress.step}`);
}

/** A bar for it, which is full only when the image is there and says so only where it is known. */
export function ProgressBar({ progress }: { progress: Step | undefined }) {
  const percent = progress?.step === "pulling" ? progress.percent : undefined;
  const text = progressText(progress);
  return (
    <div class="progress">
      <span>{text}</span>
      <div
        class={percent === undefined ? "bar unknown" : "bar"}
        role="progressbar"
        aria-label={text}
        aria-valuemin={0}
        aria-valuemax={100}
        {...(percent === undefined ? {} : { "aria-valuenow": percent })}
      >
        <span style={percent === undefined ? {} : { scale: `${percent / 100} 1` }} />
      </div>
    </div>
  );
}

/** Whether a desktop is on its way to be ready. */
export const isStarting = ({ status }: Desktop): boolean => status === "starting" || status === "restarting";
