// What the launcher hands over to the viewer's page: the answer of the call that started the desktop, so that the viewer
// need not ask again before it connects.
import { kept } from "./storage.ts";

export function handOver(uid: string, url: string): void {
  kept(`ensured.${uid}`, "session").write(url);
}

/** The URL that was handed over for this desktop. Only once: a page that is loaded again asks the service. */
export function takeOver(uid: string): string | null {
  const store = kept(`ensured.${uid}`, "session");
  const url = store.read();
  store.remove();
  return url;
}
