// Everything about one desktop: why it is kept alive, and its log.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { ApiError, logs as readLogs, measureHome, pictureAddress } from "../shared/api.ts";
import type { Desktop } from "../shared/api.ts";
import { viewAddress } from "../shared/base.ts";
import { because } from "../shared/because.ts";
import { now } from "../shared/clock.ts";
import { Dialog } from "../shared/dialog.tsx";
import { expiry } from "../shared/expiry.ts";
import { bytes, relativeTime } from "../shared/format.ts";
import { language, t } from "../shared/i18n.ts";
import { Icon } from "../shared/icons.tsx";
import { Logs } from "../shared/logs.tsx";
import { isStarting, ProgressBar, StatusBadge } from "../shared/status.tsx";

export function Details(props: { desktop: Desktop; onStop: () => void; onDelete: () => void; onClose: () => void }) {
  const { desktop } = props;
  const text = useSignal("");
  const problem = useSignal("");

  const read = async () => {
    problem.value = "";
    try {
      text.value = await readLogs(desktop.uid);
    } catch (error) {
      text.value = desktop.failure_logs ?? "";
      if (error instanceof ApiError && error.code !== "not_running") problem.value = error.message;
    }
  };
  // Whatever happens to it, it may have said something about it.
  useEffect(() => void read(), [desktop.uid, desktop.status]);

  const picture = pictureAddress(desktop, 480);
  const running = desktop.status !== "asleep" && desktop.status !== "failed";
  const moment = (when: string) => (
    <time dateTime={when} title={new Date(when).toLocaleString(language.value)}>
      {relativeTime(when, now.value, language.value)}
    </time>
  );
  return (
    <Dialog
      title={desktop.title}
      kind="drawer"
      onClose={props.onClose}
      foot={
        <>
          <button type="button" class="button" onClick={props.onDelete}>
            <Icon name="remove" /> {t("delete")}
          </button>
          <button type="button" class="button" disabled={!running || desktop.status === "stopping"} onClick={props.onStop}>
            <Icon name="stop" /> {t("stop")}
          </button>
          <a class="button primary" href={viewAddress(desktop.uid)}>
            <Icon name="screen" /> {t("open")}
          </a>
        </>
      }
    >
      {picture && <img class="picture" src={picture} alt={t("details.picture")} />}
      <p class="why" role="status">
        <StatusBadge status={desktop.status} /> {because(desktop)}
      </p>
      {isStarting(desktop) && <ProgressBar progress={desktop.progress} />}
      {desktop.forgotten_at && <p class="hint expires">{expiry(desktop)}</p>}
      {desktop.failure && <p class="problem reason">{desktop.failure}</p>}
      <dl>
        <dt>{t("details.uid")}</dt>
        <dd>{desktop.uid}</dd>
        <dt>{t("details.app")}</dt>
        <dd>{desktop.app}</dd>
        <dt>{t("column.viewers")}</dt>
        <dd>{desktop.viewers}</dd>
        <dt>{t("details.created")}</dt>
        <dd>{moment(desktop.created_at)}</dd>
        <dt>{t("details.used")}</dt>
        <dd>{moment(desktop.used_at)}</dd>
        {desktop.started_at && (
          <>
            <dt>{t("details.started")}</dt>
            <dd>{moment(desktop.started_at)}</dd>
          </>
        )}
        <dt>{t("column.until")}</dt>
        <dd>{desktop.until ? moment(desktop.until) : t("details.never")}</dd>
        <dt>{t("details.streams")}</dt>
        <dd>{desktop.streams.join(", ")}</dd>
        <dt>{t("details.home")}</dt>
        <dd>{t(desktop.home ? "details.home.yes" : "details.home.no")}</dd>
        {desktop.home && (
          <>
            <dt>{t("details.disk")}</dt>
            <dd>
              <DiskUse key={desktop.uid} uid={desktop.uid} />
            </dd>
          </>
        )}
      </dl>
      <section class="log">
        <div class="log-head">
          <h3 class="label">{t("details.logs")}</h3>
          <button type="button" class="button quiet" disabled={!running} onClick={() => void read()}>
            {t("details.logs.again")}
          </button>
        </div>
        {problem.value && (
          <p class="problem" role="alert">
            {problem.value}
          </p>
        )}
        {text.value ? (
          <Logs text={text.value} label={t("details.logs")} />
        ) : (
          <p class="hint">{t("details.logs.none")}</p>
        )}
      </section>
    </Dialog>
  );
}

/** How much disk the home takes, measured on request: the service looks at all its files for that. */
function DiskUse({ uid }: { uid: string }) {
  const shown = useSignal("");
  const busy = useSignal(false);
  const measure = async () => {
    busy.value = true;
    shown.value = t("details.disk.measuring");
    try {
      shown.value = bytes(await measureHome(uid), language.value);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      shown.value = error.code === "no_home" ? t("details.disk.none") : error.message;
    } finally {
      busy.value = false;
    }
  };
  return (
    <>
      <span role="status">{shown.value}</span>{" "}
      <button type="button" class="button quiet" disabled={busy.value} onClick={() => void measure()}>
        {t("details.disk.measure")}
      </button>
    </>
  );
}
