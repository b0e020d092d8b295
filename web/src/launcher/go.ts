// From the launcher to a desktop, without loading a page: while the desktop starts there is time for the viewer to be
// loaded and ready, and what a new page costs would come on top of the start.
import { viewAddress } from "../shared/base.ts";

const load = () => import("../viewer/show.ts");

/** Loads what the viewer needs. */
export function fetchViewer(): void {
  load().catch(() => {
    // Whoever goes there tries again, and sees what is wrong.
  });
}

/** Goes to a desktop. `url` is where it answers, when that is known. */
export async function go(uid: string, url?: string): Promise<void> {
  const address = viewAddress(uid);
  let viewer;
  try {
    viewer = await load();
  } catch {
    return location.assign(address);
  }
  history.pushState(null, "", address);
  viewer.show({ uid }, url);
}

// Back from there, or forward again, is another page than this one has become.
addEventListener("popstate", () => location.reload());
