// From an app to a desktop: its options, the progress of its start, and what went wrong.
import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";

import type { App, Desktop } from "../shared/api.ts";
import { Dialog } from "../shared/dialog.tsx";
import { t } from "../shared/i18n.ts";
import { Logs } from "../shared/logs.tsx";
import { ProgressBar } from "../shared/status.tsx";
import { toast } from "../shared/toast.tsx";
import { AppIcon } from "./app-icon.tsx";
import { Field } from "./form.tsx";
import { Launching } from "./launching.ts";
import { asked, check, complaints, environment, initial } from "./values.ts";
import type { Raw } from "./values.ts";

/** Asks for the options of an app. */
export function OptionsDialog(props: {
  app: App;
  /** What was typed before, where the service refused it, and its words. */
  before: { raw: Record<string, Raw>; details: string } | undefined;
  onStart: (launching: Launching, raw: Record<string, Raw>) => void;
  onClose: () => void;
}) {
  const { app, before } = props;
  const variables = asked(app.env);
  const form = useRef<HTMLFormElement>(null);
  const raw = useSignal<Record<string, Raw>>(
    before?.raw ?? Object.fromEntries(variables.map(([name, variable]) => [name, initial(variable)])),
  );
  const problems = useSignal<Record<string, string>>(
    before ? complaints(before.details, variables.map(([name]) => name)) : {},
  );

  const submit = (event: Event) => {
    event.preventDefault();
    const found: Record<string, string> = {};
    for (const [name, variable] of variables) {
      const problem = check(variable, raw.value[name] ?? "");
      if (problem) found[name] = t(problem.key, "values" in problem ? problem.values : {});
    }
    problems.value = found;
    if (!Object.keys(found).length) {
      return props.onStart(new Launching({ app, environment: environment(variables, raw.value) }), raw.value);
    }
    requestAnimationFrame(() => form.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus());
  };

  return (
    <Dialog
      title={app.title}
      lead={<AppIcon app={app} />}
      focus="content"
      onClose={props.onClose}
      foot={
        <>
          <button type="button" class="button" onClick={props.onClose}>
            {t("cancel")}
          </button>
          <button type="submit" form="options" class="button primary">
            {t("start")}
          </button>
        </>
      }
    >
      <form ref={form} id="options" class="options" noValidate onSubmit={submit}>
        {problems.value[""] && (
          <p class="problem" role="alert">
            {problems.value[""]}
          </p>
        )}
        {variables.map(([name, variable], index) => (
          <Field
            key={name}
            autofocus={index === 0}
            name={name}
            variable={variable}
            value={raw.value[name] ?? ""}
            problem={problems.value[name]}
            onChange={(value) => {
              raw.value = { ...raw.value, [name]: value };
            }}
          />
        ))}
      </form>
    </Dialog>
  );
}

/** Shows how far a start is, and what became of it. */
export function LaunchDialog(props: {
  title: string;
  app: App | undefined;
  launching: Launching;
  desktop: Desktop | undefined;
  onClose: () => void;
}) {
  const { launching, desktop } = props;
  const problem = launching.problem.value;
  const leave = () => {
    launching.leave();
    props.onClose();
  };
  const cancel = () => {
    props.onClose();
    launching.cancel().catch((error: unknown) => toast(String(error), "bad"));
  };
  return (
    <Dialog
      kind={problem ? "dialog" : "brief"}
      title={t(problem ? "launch.failed" : "launch.title", { title: props.title })}
      lead={props.app && <AppIcon app={props.app} />}
      onClose={leave}
      foot={
        problem ? (
          <>
            <button type="button" class="button" onClick={leave}>
              {t("close")}
            </button>
            <button type="button" class="button primary" onClick={() => void launching.start()}>
              {t("retry")}
            </button>
          </>
        ) : (
          <button type="button" class="button" onClick={cancel}>
            {t("cancel")}
          </button>
        )
      }
    >
      {problem ? (
        <>
          <p class="reason" role="alert">{problem.code === "unreachable" ? t("unreachable", { details: problem.message }) : problem.message}</p>
          {problem.logs && (
            <section>
              <h3 class="label">{t("launch.logs")}</h3>
              <Logs text={problem.logs} label={t("launch.logs")} />
            </section>
          )}
        </>
      ) : (
        <div aria-live="polite">
          <ProgressBar progress={desktop?.status === "ready" ? { step: "opening" } : desktop?.progress} />
        </div>
      )}
    </Dialog>
  );
}
