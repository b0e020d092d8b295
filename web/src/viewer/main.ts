import { base } from "../shared/base.ts";
import { show } from "./show.ts";

// The service shows this page at view/{uid} only.
show(decodeURIComponent(location.pathname.slice(`${base.pathname}view/`.length)));
