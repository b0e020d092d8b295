// The cards of the launcher: desktops that are there, and apps to make one of.
import type { App, Desktop } from "../shared/api.ts";
import { pictureAddress } from "../shared/api.ts";
import { viewAddress } from "../shared/base.ts";
import { now } from "../shared/clock.ts";
import { expiresSoon, expiry } from "../shared/expiry.ts";
import { relativeTime } from "../shared/format.ts";
import { language, t } from "../shared/i18n.ts";
import { Icon } from "../shared/icons.tsx";
import { isStarting, ProgressBar, StatusLine } from "../shared/status.tsx";
import { AppIcon } from "./app-icon.tsx";
import { fetchViewer, go } from "./go.ts";
import { asked, isNeeded } from "./values.ts";

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-/;

/** What tells a desktop from others of its app: its name, or the beginning of one that nobody chose. */
const shortName = (uid: string): string => (uuid.test(uid) ? uid.slice(0, 8) : uid);

export function DesktopCard(props: {
  desktop: Desktop;
  app: App | undefined;
  onStart: () => void;
  onStop: () => void;
  onDelete: () => void;
}) {
  const { desktop, app } = props;
  const picture = pictureAddress(desktop, 480);
  const name = `${desktop.title}, ${shortName(desktop.uid)}`;
  const age = relativeTime(desktop.since, now.value, language.value, "narrow");
  const open = (event: MouseEvent) => {
    // A new tab does everything by itself.
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    // What sleeps is started here, where its progress is shown.
    if (desktop.url) void go(desktop.uid, desktop.url);
    else props.onStart();
  };
  return (
    <li class={`card desktop ${desktop.status}`}>
      <a class="cover" href={viewAddress(desktop.uid)} onClick={open} onPointerEnter={fetchViewer} onFocus={fetchViewer}>
        <span class="thumbnail">
          {picture ? <img src={picture} alt="" loading="lazy" decoding="async" /> : <AppIcon app={app ?? { icon: "", title: desktop.title }} />}
        </span>
        <span class="title">
          <strong>{desktop.title}</strong> <span class="hint">
            {shortName(desktop.uid)} · {age}
          </span>
        </span>
      </a>
      <div class="line">
        <StatusLine desktop={desktop} />
        <span class="actions">
          {desktop.status !== "asleep" && desktop.status !== "failed" && (
            <button
              type="button"
              class="button quiet icon-only"
              disabled={desktop.status === "stopping"}
              aria-label={t("stop.named", { name })}
              title={t("stop")}
              onClick={props.onStop}
            >
              <Icon name="stop" />
            </button>
          )}
          <button
            type="button"
            class="button quiet icon-only"
            aria-label={t("delete.named", { name })}
            title={t("delete")}
            onClick={props.onDelete}
          >
            <Icon name="remove" />
          </button>
        </span>
      </div>
      {isStarting(desktop) && <ProgressBar progress={desktop.progress} />}
      {expiresSoon(desktop, now.value) && <p class="hint expires">{expiry(desktop)}</p>}
      {desktop.status === "failed" && desktop.failure && <p class="failure reason">{desktop.failure}</p>}
    </li>
  );
}

export function AppCard(props: { app: App; onStart: () => void; onOptions: () => void }) {
  const { app } = props;
  const options = asked(app.env);
  const mustAsk = options.some(([, variable]) => isNeeded(variable));
  return (
    <li class="card app">
      <div class="app-head">
        <AppIcon app={app} />
        <h3>{app.title}</h3>
      </div>
      <p>{app.description}</p>
      {app.available === false && <p class="hint">{t("app.unavailable")}</p>}
      <div class="line">
        <button
          type="button"
          class="button primary"
          aria-label={t("start.named", { name: app.title })}
          onClick={mustAsk ? props.onOptions : props.onStart}
        >
          <Icon name="open" /> {t("start")}
        </button>
        {options.length > 0 && (
          <button type="button" class="button" aria-label={t("options.named", { name: app.title })} onClick={props.onOptions}>
            <Icon name="options" /> {t("options")}
          </button>
        )}
      </div>
    </li>
  );
}
