// What is shown where no page is.
import { render } from "preact";

import "../shared/theme.css";
import "./missing.css";
import { base, address } from "../shared/base.ts";
import { t } from "../shared/i18n.ts";
import "../shared/theme.ts";

const path = location.pathname.slice(base.pathname.length - 1);

const Missing = () => (
  <main class="missing">
    <h1>{t("missing.title")}</h1>
    <p>{t("missing.text", { path })}</p>
    <a class="button primary" href={address("")}>
      {t("missing.launcher")}
    </a>
  </main>
);

render(<Missing />, document.body);
