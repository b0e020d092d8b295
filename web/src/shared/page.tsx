// The frame of the launcher and of the operations page.
import licences from "virtual:licences";
import type { ComponentChildren } from "preact";

import { address } from "./base.ts";
import icon from "./icon.svg";
import { Icon } from "./icons.tsx";
import type { IconName } from "./icons.tsx";
import { language, setLanguage, t } from "./i18n.ts";
import { languages } from "./text.ts";
import type { Language } from "./text.ts";
import { setTheme, theme, themes } from "./theme.ts";
import type { Theme } from "./theme.ts";
import { Toasts } from "./toast.tsx";

const themeIcons: Record<Theme, IconName> = { auto: "auto", light: "sun", dark: "moon" };

/** Switches for language and for light and dark. */
export function Choices() {
  const next = themes[(themes.indexOf(theme.value) + 1) % themes.length]!;
  const label = `${t("theme")}: ${t(`theme.${theme.value}`)}`;
  return (
    <div class="choices">
      <select
        aria-label={t("language")}
        value={language.value}
        onChange={({ currentTarget }) => setLanguage(currentTarget.value as Language)}
      >
        {Object.entries(languages).map(([code, name]) => (
          <option key={code} value={code} lang={code}>
            {name}
          </option>
        ))}
      </select>
      <button type="button" class="button quiet icon-only" aria-label={label} title={label} onClick={() => setTheme(next)}>
        <Icon name={themeIcons[theme.value]} />
      </button>
    </div>
  );
}

/** The way to the licences of what the console is built from. */
export const Licences = () => (
  <a class="hint" href={licences}>
    {t("licences")}
  </a>
);

/** A whole page: head, what is in it, and the place for messages. */
export function Page(props: { current: "launcher" | "operations"; connected?: boolean; children: ComponentChildren }) {
  const here = (page: string) => (page === props.current ? ({ "aria-current": "page" } as const) : {});
  return (
    <>
      <header class="head">
        <div>
          <a class="brand" href={address("")}>
            <img src={icon} alt="" />
            CoSage
          </a>
          <nav aria-label={t("pages")}>
            <a href={address("")} {...here("launcher")}>
              {t("launcher")}
            </a>
            <a href={address("operations")} {...here("operations")}>
              {t("operations")}
            </a>
          </nav>
          <Choices />
        </div>
        <div class="visually-hidden" role="status">
          {props.connected === false && t("offline")}
        </div>
        {props.connected === false && (
          <p class="offline" aria-hidden="true">
            {t("offline")}
          </p>
        )}
      </header>
      <main>{props.children}</main>
      <footer class="foot">
        <Licences />
      </footer>
      <Toasts />
    </>
  );
}
