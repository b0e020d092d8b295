// What the viewer is doing while the picture is not there, and what can be done about it.
import type { ComponentChildren } from "preact";

import { address } from "../shared/base.ts";
import { t } from "../shared/i18n.ts";
import type { MessageKey } from "../shared/i18n.ts";
import { ProgressBar, progressText } from "../shared/status.tsx";
import type { State } from "./connection.ts";
import { Symbol } from "./symbols.tsx";
import type { Viewer } from "./viewer.ts";

const losses = { network: "viewer.lost", restart: "viewer.restart", exited: "viewer.exited", role: "viewer.role" } as const;
const rests = { asleep: "viewer.asleep", stopped: "viewer.stopped", idle: "viewer.idle", age: "viewer.age", exited: "viewer.exited" } as const;

/** The state in one sentence, for who hears it. */
function sentence(viewer: Viewer, state: State): string {
  switch (state.name) {
    case "looking":
      return t("viewer.looking");
    case "offered":
      return t("viewer.offered");
    case "starting":
      return progressText(state.progress);
    case "connecting":
      return t("viewer.connecting");
    case "connected":
      return t(viewer.live.value ? "viewer.connected" : "viewer.painting");
    case "lost":
      return `${t(losses[state.why])}. ${t(`viewer.lost.${state.why}`)}`;
    case "blocked":
      return `${t("viewer.blocked")}. ${t("viewer.blocked.text")}`;
    case "asleep":
      return t(rests[state.why]);
    case "failed":
      return `${t("viewer.failed")}. ${state.details}`;
    case "unknown":
      return t("viewer.unknown.text", { uid: viewer.uid });
    case "over":
      return `${t(`viewer.over.${state.why}`)}. ${t("viewer.over.text")}`;
  }
}

/** The way to the apps, for who is not here by a share. */
const Launcher = ({ viewer }: { viewer: Viewer }) =>
  viewer.share === undefined ? (
    <a class="button" href={address("")}>
      <Symbol name="apps" />
      {t("viewer.launcher")}
    </a>
  ) : null;

const Act = ({ label, onClick }: { label: MessageKey; onClick: () => void }) => (
  <button type="button" class="button primary" onClick={onClick}>
    {t(label)}
  </button>
);

function Card(props: { name?: string | undefined; title: string; brief?: boolean; children?: ComponentChildren; actions?: ComponentChildren }) {
  return (
    <section class={props.brief ? "notice brief" : "notice"}>
      {props.name && <p class="name">{props.name}</p>}
      <h1>{props.title}</h1>
      {props.children}
      {props.actions && <div class="actions">{props.actions}</div>}
    </section>
  );
}

function Body({ viewer, state }: { viewer: Viewer; state: State }) {
  const name = viewer.desktop.value?.title;
  switch (state.name) {
    case "looking":
    case "connecting":
    case "connected":
      return (
        <Card brief name={name} title={sentence(viewer, state)}>
          <div class="bar unknown">
            <span />
          </div>
        </Card>
      );
    case "starting":
      return (
        <Card name={name} title={t("status.starting")} actions={<Launcher viewer={viewer} />}>
          <ProgressBar progress={state.progress} />
        </Card>
      );
    case "offered":
      return (
        <Card
          name={name}
          title={t("viewer.offered")}
          actions={
            <>
              <Launcher viewer={viewer} />
              <Act label="viewer.connect" onClick={() => viewer.start()} />
            </>
          }
        />
      );
    case "lost":
      return (
        <Card
          name={name}
          title={t(losses[state.why])}
          actions={
            <>
              <Launcher viewer={viewer} />
              <Act label="viewer.now" onClick={() => viewer.hurry()} />
            </>
          }
        >
          <p>{t(`viewer.lost.${state.why}`)}</p>
          <div class="bar unknown">
            <span />
          </div>
        </Card>
      );
    case "blocked":
      return (
        <Card
          name={name}
          title={t("viewer.blocked")}
          actions={
            <>
              <Launcher viewer={viewer} />
              <Act label="viewer.now" onClick={() => viewer.hurry()} />
            </>
          }
        >
          <p>{t("viewer.blocked.text")}</p>
          <ul class="advice">
            <li>{t("viewer.blocked.user")}</li>
            <li>{t("viewer.blocked.operator", { path: new URL(address("stream/")).pathname })}</li>
          </ul>
        </Card>
      );
    case "asleep":
      return (
        <Card
          name={name}
          title={t(rests[state.why])}
          actions={
            <>
              <Launcher viewer={viewer} />
              {viewer.share === undefined ? (
                <Act label="viewer.again" onClick={() => viewer.start()} />
              ) : (
                <Act label="viewer.now" onClick={() => viewer.hurry()} />
              )}
            </>
          }
        >
          {viewer.desktop.value?.home && <p>{t("viewer.asleep.text")}</p>}
          {viewer.share !== undefined && <p>{t("viewer.asleep.guest")}</p>}
        </Card>
      );
    case "failed":
      return (
        <Card
          name={name}
          title={t("viewer.failed")}
          actions={
            <>
              <Launcher viewer={viewer} />
              <Act label="retry" onClick={() => viewer.start()} />
            </>
          }
        >
          <p lang="en">{state.details}</p>
          {state.logs && (
            <pre class="logs" tabIndex={0} aria-label={t("viewer.failed.logs")} lang="en">
              {state.logs}
            </pre>
          )}
        </Card>
      );
    case "unknown":
      return (
        <Card title={t("viewer.unknown")} actions={<Launcher viewer={viewer} />}>
          <p>{t("viewer.unknown.text", { uid: viewer.uid })}</p>
        </Card>
      );
    case "over":
      return (
        <Card name={name} title={t(`viewer.over.${state.why}`)}>
          <p>{t("viewer.over.text")}</p>
        </Card>
      );
  }
}

/** Over the screen while there is no live picture; who only hears gets a sentence at each change. */
export function Status({ viewer }: { viewer: Viewer }) {
  const state = viewer.state.value;
  const covered = state.name !== "connected" || !viewer.live.value;
  // Where somebody is asked something, that is what there is to do.
  const asked = viewer.question.value !== undefined || viewer.serverKey.value !== undefined;
  return (
    <>
      <div class="visually-hidden" role="status" aria-live="polite">
        {sentence(viewer, state)}
      </div>
      {covered && !asked && (
        <div class="veil">
          <Body viewer={viewer} state={state} />
        </div>
      )}
    </>
  );
}
