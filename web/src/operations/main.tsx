import { render } from "preact";

import "../shared/theme.css";
import { Page } from "../shared/page.tsx";

render(<Page current="operations">…</Page>, document.body);
