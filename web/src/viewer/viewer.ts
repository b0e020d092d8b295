// The viewer of one desktop: performs what the state machine asks for, and holds what the page shows.
import { computed, effect, signal } from "@preact/signals";
import type { Credentials } from "@novnc/novnc";

import {
  ApiError,
  desktop as describe,
  ensure,
  shared,
  stop,
  type ClipboardDirection,
  type Desktop,
  type Role,
} from "../shared/api.ts";
import { address, base } from "../shared/base.ts";
import { EventFeed } from "../shared/events.ts";
import { bytes } from "../shared/format.ts";
import { language, t } from "../shared/i18n.ts";
import { streamAddress } from "../shared/stream.ts";
import { toast } from "../shared/toast.tsx";
import { delayBefore } from "./backoff.ts";
import { Clipboard } from "./clipboard.ts";
import { begin, step, type Described, type Effect, type Event, type Machine, type State } from "./connection.ts";
import { DisplayScale, pixelRatio } from "./display-scale.ts";
import { Uploads } from "./files.ts";
import { Typist } from "./keysyms.ts";
import { screenPixels } from "./native-rfb.ts";
import { PASTE_MAX } from "./paste.ts";
import type { Query, ResizeMode } from "./query.ts";
import { Screen, type Look } from "./screen.ts";
import { readSettings, type Settings } from "./settings.ts";
import { client, sparesThisPage } from "./sharing.ts";
import { Sound, type SoundState } from "./sound.ts";

/** In these the service tells what happens; a connected viewer has its socket, and browsers have few connections for a host. */
const LISTENING = new Set<State["name"]>(["starting", "asleep", "failed", "unknown"]);

/** In these a share's address leads to the desktop, at once or soon. */
const REACHABLE = new Set<Desktop["status"]>(["ready", "starting", "restarting"]);

/** How this page comes to its desktop: by its name, with which everything can be had, or by a share's secret. */
export type Way = { uid: string } | { share: string };

/** What the page knows of its desktop; whoever came by a share knows less. */
export type Seen = Pick<Desktop, "title" | "streams"> & Partial<Pick<Desktop, "home" | "picture" | "takeover">>;

/** What the gateway lets this page do; it is the gateway that sees to it. */
export interface Rights {
  role: Role;
  clipboard: ClipboardDirection;
  /** When they end, if they do. */
  expires?: string;
}

/** What a VNC server elsewhere wants to know. */
export interface Question {
  types: (keyof Credentials)[];
  /** That it refused the last answer, in its words. */
  refused: string | undefined;
}

export interface Places {
  screen: Element;
  last: HTMLCanvasElement;
}

export class Viewer {
  /** Empty for a guest, who is not told it. */
  readonly uid: string;
  /** The secret of the share by which this page came, as a guest. */
  readonly share: string | undefined;
  readonly settings: Settings;
  readonly desktop = signal<Seen | undefined>(undefined);
  /** What this page's address gives now, as far as is known. */
  readonly rights = signal<Rights>({ role: "control", clipboard: "both" });
  /** Whether there are ways to steer on the page: neither taken by the share nor unwanted. */
  readonly steers = computed(() => this.rights.value.role === "control" && !this.settings.viewOnly.value);
  /** Whether texts go to the desktop. */
  readonly pastes = computed(() => this.steers.value && this.rights.value.clipboard === "both");
  /** How the picture fits: who only looks on does not change the desktop's size. */
  readonly resize = computed<ResizeMode>(() => {
    const wanted = this.settings.resize.value;
    return wanted === "remote" && this.rights.value.role === "view" ? "scale" : wanted;
  });
  /** Whether this page says how large the desktop's applications draw. */
  readonly #scales = computed(
    () => this.resize.value === "remote" && this.steers.value && (this.desktop.value?.streams.includes("display") ?? false),
  );
  /** Whether the desktop can have the screen's own pixels, where those are smaller than CSS's. */
  readonly offersNative = computed(() => this.#scales.value && pixelRatio.value > 1);
  /** Pixels of the desktop for one of CSS, along a side. */
  readonly #scale = computed(() =>
    this.offersNative.value && this.settings.native.value && !this.#isRefused.value ? pixelRatio.value : 1,
  );
  readonly state = computed<State>(() => this.#machine.value.state);
  /** Whether what is seen is the desktop as it is now. */
  readonly live = signal(false);
  readonly clipped = signal(false);
  /** What the desktop copied last, and whether this machine's clipboard does not have it. */
  readonly copied = signal("");
  readonly held = signal(false);
  readonly sound = signal<SoundState>("off");
  readonly question = signal<Question | undefined>(undefined);
  readonly serverKey = signal<Uint8Array<ArrayBuffer> | undefined>(undefined);
  readonly uploads: Uploads;
  /** Counts uploads that arrived, for who shows their directory. */
  readonly arrived = signal(0);
  readonly typist: Typist;
  readonly clipboard: Clipboard;

  readonly #query: Query;
  readonly #screen: Screen;
  readonly #sound: Sound;
  readonly #machine = signal<Machine>(begin({ autoconnect: undefined, reconnect: true, guest: false })[0]);
  /** The place of the desktop in this page, in CSS pixels. */
  readonly #place = signal({ width: 0, height: 0 });
  /** The fewest of the screen's own pixels that the desktop did not take since it was connected. */
  readonly #refusedPixels = signal(Infinity);
  /** Whether the desktop does not take the size of this window in the screen's own pixels. A window with fewer of them is tried. */
  readonly #isRefused = computed(() => {
    const { w, h } = screenPixels(this.#place.value.width, this.#place.value.height, pixelRatio.value);
    return w * h >= this.#refusedPixels.value;
  });
  #timer: ReturnType<typeof setTimeout> | undefined;
  #refusal: string | undefined;

  constructor(way: Way, query: Query, { screen, last }: Places, onBell: () => void) {
    this.uid = "uid" in way ? way.uid : "";
    this.share = "share" in way ? way.share : undefined;
    this.#query = query;
    this.settings = readSettings(query);
    this.#screen = new Screen(screen, last, this.#look(), {
      onOpened: () => this.#put({ type: "opened" }),
      onConnected: () => this.#onConnected(),
      onClosed: (code, reason) => this.#onClosed(code, reason),
      onPicture: () => (this.live.value = true),
      onClipboard: (text) => {
        this.copied.value = text;
        if (!this.settings.viewOnly.value) void this.clipboard.fromDesktop(text);
      },
      onBell: () => query.bell && onBell(),
      onClipped: (clipped) => (this.clipped.value = clipped),
      onSizeRefused: (pixels) => this.#onSizeRefused(pixels),
      onCredentials: (types) => (this.question.value = { types, refused: this.#refusal }),
      onServerKey: (key) => (this.serverKey.value = key),
      onSecurityFailure: (reason) => (this.#refusal = reason),
    });
    this.clipboard = new Clipboard({
      onText: (text) => this.pastes.value && this.#screen.paste(text),
      onTooLong: (size) => {
        if (!this.pastes.value) return;
        const [has, limit] = [bytes(size, language.value), bytes(PASTE_MAX, language.value)];
        toast(t("viewer.clipboard.long", { size: has, limit }), "bad");
      },
      onHeld: (held) => (this.held.value = held),
    });
    this.typist = new Typist((keysym) => this.#screen.key(keysym));
    this.#sound = new Sound((state) => (this.sound.value = state));
    this.uploads = new Uploads(this.uid, () => this.arrived.value++);

    new ResizeObserver(() => (this.#place.value = screen.getBoundingClientRect())).observe(screen);
    effect(() => this.#screen.show(this.#look()));
    effect(() => {
      this.clipboard.enabled = this.settings.clipboard.value && !this.settings.viewOnly.value;
    });
    effect(() => {
      document.title = this.desktop.value?.title ?? "CoSage";
    });
    this.#listen();
    this.#recall();
    this.#tellScale();
  }

  /** Does what the page was opened for. `url` is where the desktop answers, when that is known. */
  begin(url?: string): void {
    const { autoconnect, reconnect } = this.#query;
    const [machine, effects] = begin({ autoconnect, reconnect, guest: this.share !== undefined }, url);
    this.#machine.value = machine;
    effects.forEach((effect) => this.#perform(effect));
    // For its title and what it has; the picture does not wait for it.
    if (url !== undefined) void this.#describe().catch(() => undefined);
    addEventListener("online", () => this.#put({ type: "wake" }));
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.#put({ type: "wake" });
    });
  }

  /** Starts the desktop if it sleeps, and connects. */
  start(): void {
    this.#setReconnect(this.#query.reconnect);
    this.#put({ type: "start" });
  }

  /** Tries again without waiting. */
  hurry(): void {
    this.#put({ type: "wake" });
  }

  /** Asks what this page may do now: the service tells no page that it was changed. */
  async refresh(): Promise<void> {
    await this.#describe().catch(() => undefined);
  }

  stop(): Promise<void> {
    return stop(this.uid);
  }

  answer(credentials: Credentials): void {
    this.question.value = undefined;
    this.#screen.answer(credentials);
  }

  approve(): void {
    this.serverKey.value = undefined;
    this.#screen.approve();
  }

  /** Gives up what was asked for. */
  decline(): void {
    this.question.value = undefined;
    this.serverKey.value = undefined;
    this.#setReconnect(false);
    this.#screen.disconnect();
  }

  focus(): void {
    this.#screen.focus();
  }

  key(keysym: number, down?: boolean): void {
    this.#screen.key(keysym, down);
  }

  picture(): Promise<Blob | null> {
    return this.#screen.picture();
  }

  /** Switches the sound; from inside of a gesture. */
  toggleSound(): void {
    if (this.#hears) this.#sound.stop();
    else this.#listenTo();
  }

  get #hears(): boolean {
    return this.sound.value === "waiting" || this.sound.value === "playing";
  }

  #listenTo(): void {
    const state = this.state.value;
    if (state.name === "connected") this.#sound.start(streamAddress(state.url, "audio", base, client));
  }

  #setReconnect(reconnect: boolean): void {
    const machine = this.#machine.value;
    this.#machine.value = { ...machine, policy: { ...machine.policy, reconnect } };
  }

  #look(): Look {
    const { panning, quality, compression, viewOnly } = this.settings;
    return {
      resize: this.resize.value,
      pixelRatio: this.#scale.value,
      panning: panning.value,
      quality: quality.value,
      compression: compression.value,
      viewOnly: viewOnly.value,
      showDot: this.#query.showDot,
    };
  }

  #put(event: Event): void {
    const [machine, effects] = step(this.#machine.value, event);
    this.#machine.value = machine;
    effects.forEach((effect) => this.#perform(effect));
  }

  #perform(effect: Effect): void {
    switch (effect.do) {
      case "look":
        void this.#lookUp();
        return;
      case "ensure":
        void this.#ensure();
        return;
      case "connect":
        this.#screen.connect(streamAddress(effect.url, "vnc", base, client), this.#query.shared);
        return;
      case "wait":
        clearTimeout(this.#timer);
        this.#timer = setTimeout(
          () => this.#put({ type: "again" }),
          delayBefore(effect.attempt, this.#query.reconnectDelay),
        );
        return;
      case "hurry":
        clearTimeout(this.#timer);
        return;
    }
  }

  async #describe(): Promise<Described> {
    if (this.share !== undefined) {
      const found = await shared(this.share);
      this.desktop.value = found;
      this.rights.value = found;
      return REACHABLE.has(found.status) ? { ...found, url: `/stream/${this.share}` } : found;
    }
    const found = await describe(this.uid);
    this.#learn(found);
    return found;
  }

  #learn(desktop: Desktop): void {
    this.desktop.value = desktop;
    const { takeover } = desktop;
    this.rights.value =
      takeover === undefined || sparesThisPage(takeover) ? { role: "control", clipboard: "both" } : { role: "view", clipboard: "out" };
  }

  async #lookUp(): Promise<void> {
    try {
      this.#put({ type: "described", desktop: await this.#describe() });
    } catch (error) {
      this.#put({ type: isUnknown(error) ? "missing" : "unreachable" });
    }
  }

  async #ensure(): Promise<void> {
    try {
      const { url } = await ensure(this.uid);
      this.#put({ type: "ensured", url });
    } catch (error) {
      if (error instanceof ApiError && error.code !== "unreachable") {
        this.#put({ type: "refused", code: error.code, details: error.message, logs: error.logs });
      } else {
        this.#put({ type: "unreachable" });
      }
    }
  }

  #onConnected(): void {
    this.#refusal = undefined;
    this.#refusedPixels.value = Infinity;
    this.#put({ type: "connected" });
    this.clipboard.reset();
    // It may have another address now.
    if (this.#hears) this.#listenTo();
    // Whoever is at the toolbar or in a panel stays there.
    if (document.activeElement === null || document.activeElement === document.body) this.#screen.focus();
  }

  #onClosed(code: number, reason: string): void {
    this.live.value = false;
    this.question.value = undefined;
    this.serverKey.value = undefined;
    this.clipped.value = false;
    this.typist.stop();
    this.#put({ type: "closed", code, reason });
    const { name } = this.state.value;
    if (name === "asleep" || name === "over") this.#sound.stop();
  }

  #onSizeRefused(pixels: number): void {
    const wasNative = this.#scale.value > 1;
    this.#refusedPixels.value = Math.min(this.#refusedPixels.value, pixels);
    // Otherwise the window has become smaller meanwhile, and what it has now is asked for.
    if (wasNative && this.#scale.value === 1) toast(t("viewer.native.refused"));
  }

  /** Tells the desktop its scale while this page asks for its size. */
  #tellScale(): void {
    const display = new DisplayScale(this.#scale, () => void this.refresh());
    const stream = computed(() => {
      const state = this.state.value;
      return state.name === "connected" && this.#scales.value ? streamAddress(state.url, "display", base, client) : undefined;
    });
    effect(() => (stream.value === undefined ? display.stop() : display.start(stream.value)));
  }

  /** Follows the service's events while they are all there is. */
  #listen(): void {
    const wanted = computed(() => this.share === undefined && LISTENING.has(this.state.value.name));
    effect(() => {
      if (!wanted.value) return undefined;
      const feed = new EventFeed(
        {
          onReset: () => {
            this.#describe().then(
              (desktop) => this.#put({ type: "reported", desktop }),
              (error: unknown) => isUnknown(error) && this.#put({ type: "missing" }),
            );
          },
          onEvent: ({ desktop, forgotten }) => {
            if (desktop) {
              this.#learn(desktop);
              this.#put({ type: "reported", desktop });
            } else if (forgotten) {
              this.#put({ type: "missing" });
            }
          },
        },
        { uid: this.uid },
      );
      return () => feed.close();
    });
  }

  /** Shows the service's last picture of the desktop where this page has none. */
  #recall(): void {
    effect(() => {
      const picture = this.desktop.value?.picture;
      if (picture === undefined || this.state.value.name === "connected") return;
      const query = `last=true&format=jpeg&at=${encodeURIComponent(picture)}`;
      this.#screen.recall(address(`api/vm/${encodeURIComponent(this.uid)}/screenshot?${query}`)).catch(() => {
        // A picture of another time is no loss.
      });
    });
  }
}

function isUnknown(error: unknown): boolean {
  return error instanceof ApiError && error.code !== "unreachable" && (error.status === 404 || error.status === 422);
}
