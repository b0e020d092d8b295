import { h, render } from "preact";

import "../shared/theme.css";
import "./viewer.css";
import { base } from "../shared/base.ts";
import "../shared/theme.ts";
import { ViewerPage } from "./page.tsx";
import { readQuery } from "./query.ts";

// The service shows this page at view/{uid} only.
const uid = decodeURIComponent(location.pathname.slice(`${base.pathname}view/`.length));
const { query, ignored } = readQuery(location.search, location.hash);
for (const note of ignored) console.warn(`ignored in the address: ${note}`);

render(h(ViewerPage, { uid, query }), document.body);
