import { base } from "../shared/base.ts";
import { show } from "./show.ts";

// The service shows this page at view/{uid}, and at view/ to who comes by a share. The share's secret is behind '#', which a
// browser keeps to itself.
const uid = decodeURIComponent(location.pathname.slice(`${base.pathname}view/`.length));
if (uid === "") {
  show({ share: new URLSearchParams(location.hash.slice(1)).get("share") ?? "" });
  // Another share's address in this window loads no page by itself.
  addEventListener("hashchange", () => location.reload());
} else {
  show({ uid });
}
