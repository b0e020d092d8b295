// One start of a desktop, from the click to the viewer's page.
import { signal } from "@preact/signals";

import { ApiError, ensure, newUid, stop } from "../shared/api.ts";
import type { App, Desktop, Environment } from "../shared/api.ts";
import { fetchViewer, go } from "./go.ts";
import { ofCaller } from "./values.ts";

/** What is started: a new desktop of an app, or one that is there already. */
export type Subject = { app: App; environment: Environment } | { desktop: Desktop };

export class Launching {
  readonly uid: string;
  readonly problem = signal<ApiError | undefined>(undefined);
  readonly subject: Subject;
  #call = new AbortController();

  constructor(subject: Subject) {
    this.subject = subject;
    // A name of our own, so that the service's events can be followed before its answer is there.
    this.uid = "desktop" in subject ? subject.desktop.uid : newUid();
    void this.start();
  }

  /** Asks the service, and goes to the desktop when it is there. */
  async start(): Promise<void> {
    this.problem.value = undefined;
    this.#call = new AbortController();
    const request = "app" in this.subject ? this.#order(this.subject) : {};
    try {
      const answer = ensure(this.uid, request, this.#call.signal);
      // After the call, which would have to wait until the viewer's script was read.
      fetchViewer();
      const { url } = await answer;
      await go(this.uid, url);
    } catch (error) {
      if (error instanceof ApiError) this.problem.value = error;
      else if (!this.#call.signal.aborted) throw error;
    }
  }

  #order({ app, environment }: { app: App; environment: Environment }) {
    const here = { timezone: Intl.DateTimeFormat().resolvedOptions().timeZone, languages: navigator.languages };
    return { vm: app.name, env: { ...ofCaller(app.env, here), ...environment } };
  }

  /** Lets it go on by itself. */
  leave(): void {
    this.#call.abort();
  }

  /** Calls it off. Of a new desktop nothing is left. */
  async cancel(): Promise<void> {
    this.#call.abort();
    try {
      await stop(this.uid, { forget: "app" in this.subject });
    } catch (error) {
      // It was not even made.
      if (!(error instanceof ApiError && error.status === 404)) throw error;
    }
  }
}
