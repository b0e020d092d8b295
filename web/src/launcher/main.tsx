// The launcher: desktops to come back to, and apps to start.
import { signal } from "@preact/signals";
import { render } from "preact";
import { useEffect, useRef } from "preact/hooks";

import "../shared/theme.css";
import "./launcher.css";
import { ApiError, catalog, stop } from "../shared/api.ts";
import type { App, Desktop } from "../shared/api.ts";
import { Confirmation } from "../shared/dialog.tsx";
import { Desktops } from "../shared/desktops.ts";
import { DesktopPages, pageSize } from "../shared/pages.ts";
import { inOrder } from "../shared/selection.ts";
import { t } from "../shared/i18n.ts";
import { Page } from "../shared/page.tsx";
import { toast } from "../shared/toast.tsx";
import { AppCard, DesktopCard } from "./cards.tsx";
import { LaunchDialog, OptionsDialog } from "./launch-dialog.tsx";
import { Launching } from "./launching.ts";
import type { Raw } from "./values.ts";

/** How many desktops are shown at first. */
const few = 4;
/** How many more are shown at a time. */
const step = 24;
/** From how many apps on a field to search them is worth its place. */
const many = 9;

const desktops = new Desktops();
const pages = new DesktopPages(desktops);
const apps = signal<App[] | undefined>(undefined);
const problem = signal<ApiError | undefined>(undefined);
const search = signal("");
const desktopSearch = signal("");
const count = signal(few);

/** The one dialog that is open. */
type Open =
  | { kind: "options"; app: App; before?: { raw: Record<string, Raw>; details: string } }
  | { kind: "launch"; launching: Launching; title: string; app: App | undefined; raw?: Record<string, Raw> }
  | { kind: "stop" | "delete"; desktop: Desktop };
const open = signal<Open | undefined>(undefined);

const close = () => {
  open.value = undefined;
};

async function readCatalog(): Promise<void> {
  problem.value = undefined;
  try {
    apps.value = await catalog();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    problem.value = error;
  }
}

const start = (app: App) => {
  open.value = { kind: "launch", launching: new Launching({ app, environment: {} }), title: app.title, app };
};

const restart = (desktop: Desktop, app: App | undefined) => {
  open.value = { kind: "launch", launching: new Launching({ desktop }), title: desktop.title, app };
};

function end(desktop: Desktop, forget: boolean): void {
  stop(desktop.uid, { forget }).catch((error: unknown) => {
    toast(error instanceof ApiError ? error.message : String(error), "bad");
  });
}

const appOf = ({ app }: Desktop): App | undefined => apps.value?.find(({ name }) => name === app);

function Dialogs() {
  const now = open.value;
  switch (now?.kind) {
    case undefined:
      return null;
    case "options":
      return (
        <OptionsDialog
          app={now.app}
          before={now.before}
          onClose={close}
          onStart={(launching, raw) => {
            open.value = { kind: "launch", launching, title: now.app.title, app: now.app, raw };
          }}
        />
      );
    case "launch": {
      const { launching, app, raw } = now;
      const refused = launching.problem.value;
      if (refused?.code === "invalid_env" && app) {
        // Back to the form, with the service's own words.
        queueMicrotask(() => {
          open.value = { kind: "options", app, before: { raw: raw ?? {}, details: refused.message } };
        });
        return null;
      }
      const desktop = desktops.all.value?.get(launching.uid);
      return <LaunchDialog title={now.title} app={app} launching={launching} desktop={desktop} onClose={close} />;
    }
    case "stop":
    case "delete": {
      const { desktop, kind } = now;
      return (
        <Confirmation
          title={t(`${kind}.title`, { title: desktop.title })}
          text={[
            t(desktop.home ? `${kind}.text.home` : `${kind}.text`),
            desktop.viewers > 0 ? t("stop.viewers", { n: desktop.viewers }) : "",
          ].join(" ")}
          action={t(kind)}
          onClose={close}
          onConfirm={() => end(desktop, kind === "delete")}
        />
      );
    }
  }
}

function Recent() {
  const now = open.value;
  // What is being started has the dialog, and its card would push the others away from under the pointer.
  const starting = now?.kind === "launch" && "app" in now.launching.subject ? now.launching.uid : undefined;
  const list = useRef<HTMLUListElement>(null);
  const moreFrom = useRef<number | undefined>(undefined);
  const text = desktopSearch.value;
  const known = inOrder(desktops.all.value ?? new Map(), desktops.changed, pages.uids.value ?? [], text);
  const all = known.filter(({ uid }) => uid !== starting);
  const shown = all.slice(0, count.value);
  const hasMore = pages.hasMore.value;

  // The first of those that were asked for has the focus once it is there.
  useEffect(() => {
    if (moreFrom.current === undefined || shown.length <= moreFrom.current) return;
    list.current?.children[moreFrom.current]?.querySelector<HTMLElement>("a")?.focus();
    moreFrom.current = undefined;
  }, [shown.length]);

  const showMore = () => {
    moreFrom.current = shown.length;
    count.value += step;
    if (count.value > all.length - pageSize / 2) void pages.more();
  };
  if (!all.length && !text && !hasMore) return null;
  return (
    <section aria-labelledby="recent">
      <div class="section-head">
        <h2 id="recent">{t("recent")}</h2>
        {(text !== "" || hasMore || all.length > few) && (
          <input
            class="input search"
            type="search"
            aria-label={t("recent.search")}
            placeholder={t("recent.search")}
            maxLength={128}
            value={text}
            onInput={({ currentTarget }) => {
              desktopSearch.value = currentTarget.value;
              count.value = few;
              pages.search({ text: currentTarget.value });
            }}
          />
        )}
      </div>
      {!all.length && !pages.isReading.value && <p class="empty">{t("recent.none")}</p>}
      <ul class="cards desktops" ref={list}>
        {shown.map((desktop) => (
          <DesktopCard
            key={desktop.uid}
            desktop={desktop}
            app={appOf(desktop)}
            onStart={() => restart(desktop, appOf(desktop))}
            onStop={() => (open.value = { kind: "stop", desktop })}
            onDelete={() => (open.value = { kind: "delete", desktop })}
          />
        ))}
      </ul>
      <div class="more">
        {(all.length > shown.length || hasMore) && (
          <button type="button" class="button" onClick={showMore}>
            {t("more")}
          </button>
        )}
        {shown.length > few && (
          <button type="button" class="button quiet" onClick={() => (count.value = few)}>
            {t("recent.fewer")}
          </button>
        )}
      </div>
      <p class="visually-hidden" role="status">
        {(text !== "" || count.value > few) && !pages.isReading.value && t("shown", { n: shown.length })}
      </p>
    </section>
  );
}

function Apps() {
  const wanted = search.value.trim().toLowerCase();
  const found = apps.value?.filter(({ name, title, description, aliases }) =>
    [name, title, description, ...aliases].some((text) => text.toLowerCase().includes(wanted)),
  );
  return (
    <section aria-labelledby="apps">
      <div class="section-head">
        <h2 id="apps">{t("apps")}</h2>
        {(apps.value?.length ?? 0) >= many && (
          <input
            class="input search"
            type="search"
            aria-label={t("apps.search")}
            placeholder={t("apps.search")}
            value={search.value}
            onInput={({ currentTarget }) => (search.value = currentTarget.value)}
          />
        )}
      </div>
      {problem.value && (
        <div class="empty" role="alert">
          <p>{t("unreachable", { details: problem.value.message })}</p>
          <button type="button" class="button" onClick={() => void readCatalog()}>
            {t("retry")}
          </button>
        </div>
      )}
      {found?.length === 0 && <p class="empty">{t("apps.none")}</p>}
      <ul class="cards apps">
        {found?.map((app) => (
          <AppCard key={app.name} app={app} onStart={() => start(app)} onOptions={() => (open.value = { kind: "options", app })} />
        ))}
      </ul>
    </section>
  );
}

function Launcher() {
  useEffect(
    () => () => {
      pages.close();
      desktops.close();
    },
    [],
  );
  // The apps come with the desktops above them, which would push them down; only a service that tells of no desktop is
  // not waited for.
  const known = (desktops.all.value && pages.uids.value) ?? desktops.problem.value;
  const complete = (apps.value ?? problem.value) && (known || !desktops.connected.value);
  return (
    <Page current="launcher" connected={desktops.connected.value}>
      <h1 class="visually-hidden">{t("launcher.heading")}</h1>
      {complete && <Recent />}
      {complete && <Apps />}
      <Dialogs />
    </Page>
  );
}

void readCatalog();
render(<Launcher />, document.body);
