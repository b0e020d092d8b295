// The toolbar: hidden while the desktop is used; it comes by the pointer at the middle of the upper edge, by its handle, or by a
// chord of keys, and goes by itself.
import { effect, signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { address } from "../shared/base.ts";
import { now } from "../shared/clock.ts";
import { Confirmation } from "../shared/dialog.tsx";
import { relativeTime } from "../shared/format.ts";
import { Icon } from "../shared/icons.tsx";
import { language, t } from "../shared/i18n.ts";
import { toast } from "../shared/toast.tsx";
import { save } from "./copy.ts";
import { FilesPanel } from "./files-panel.tsx";
import { CHORD_TEXT, onChord, releaseKeys } from "./keyboard.ts";
import { ClipboardPanel, DisplayPanel, KeysPanel } from "./panels.tsx";
import { pictureName } from "./paths.ts";
import { SharePanel } from "./share-panel.tsx";
import { Symbol, type SymbolName } from "./symbols.tsx";
import type { Rights, Viewer } from "./viewer.ts";

export type PanelName = "display" | "clipboard" | "keys" | "files" | "share";

/** The panel that is open. */
export const panel = signal<PanelName | undefined>(undefined);

const panels: Record<PanelName, (props: { viewer: Viewer }) => ComponentChildren> = {
  display: DisplayPanel,
  clipboard: ClipboardPanel,
  keys: KeysPanel,
  files: FilesPanel,
  share: SharePanel,
};

/** Milliseconds that the toolbar stays when nobody is at it. */
const STAYS = 1_200;
/** The same when it came by itself or was asked for. */
const STAYS_FIRST = 4_000;
/** Pixels from the upper edge that call it. */
const EDGE = 3;

interface Item {
  id: string;
  label: string;
  symbol: SymbolName;
  panel?: PanelName;
  pressed?: boolean;
  marked?: boolean;
  href?: string;
  act?: () => void;
}

/** Whether the pointer is where it calls the toolbar: not in the corners, where windows have their buttons. */
function calls({ pointerType, clientX, clientY }: PointerEvent): boolean {
  return pointerType === "mouse" && clientY <= EDGE && Math.abs(clientX - innerWidth / 2) < Math.max(120, innerWidth / 8);
}

export function Toolbar({ viewer, onTouchKeyboard, touchKeyboard }: { viewer: Viewer; onTouchKeyboard: () => void; touchKeyboard: boolean }) {
  const [shown, setShown] = useState(false);
  const [active, setActive] = useState(0);
  const [stopping, setStopping] = useState(false);
  const [full, setFull] = useState(false);
  const bar = useRef<HTMLDivElement>(null);
  const dock = useRef<HTMLDivElement>(null);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const connected = viewer.state.value.name === "connected";

  const hideAfter = (milliseconds: number) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      const used = panel.value !== undefined || dock.current?.matches(":hover") || dock.current?.contains(document.activeElement);
      if (used) hideAfter(STAYS);
      else setShown(false);
    }, milliseconds);
  };
  const show = (milliseconds = STAYS) => {
    setShown(true);
    hideAfter(milliseconds);
  };
  const leave = () => {
    panel.value = undefined;
    setShown(false);
    viewer.focus();
  };

  useEffect(() => {
    // Shown once, so that everybody knows where it is.
    const stop = effect(() => {
      if (viewer.live.value) show(STAYS_FIRST);
    });
    const onMove = (event: PointerEvent) => calls(event) && show();
    addEventListener("pointermove", onMove, { capture: true });
    const onFullscreen = () => setFull(document.fullscreenElement !== null);
    document.addEventListener("fullscreenchange", onFullscreen);
    onChord(() => {
      if (viewer.state.value.name !== "connected") return;
      if (dock.current?.contains(document.activeElement)) return leave();
      releaseKeys();
      show();
      // At once, so that keys that follow are the toolbar's and not the desktop's.
      bar.current?.querySelector<HTMLElement>('[tabindex="0"]')?.focus({ preventScroll: true });
    });
    return () => {
      stop();
      removeEventListener("pointermove", onMove, { capture: true });
      document.removeEventListener("fullscreenchange", onFullscreen);
    };
  }, [viewer]);

  useEffect(() => {
    if (shown) void viewer.refresh();
  }, [shown]);

  if (!connected) return null;

  const found = viewer.desktop.value;
  const { viewOnly } = viewer.settings;
  const steers = viewer.steers.value;
  const guest = viewer.share !== undefined;
  const mayOnlyLook = viewer.rights.value.role === "view";
  const items: Item[] = [
    ...(guest ? [] : [{ id: "launcher", label: t("viewer.launcher"), symbol: "apps", href: address("") } as const]),
    { id: "display", label: t("viewer.display"), symbol: "display", panel: "display" },
    {
      id: "clipboard",
      label: t(viewer.held.value ? "viewer.clipboard.held" : "viewer.clipboard"),
      symbol: "clipboard",
      panel: "clipboard",
      marked: viewer.held.value,
    },
    ...(steers ? [{ id: "keys", label: t("viewer.keys"), symbol: "keys", panel: "keys" } as const] : []),
    ...(touchKeyboard && steers
      ? [{ id: "touch", label: t("viewer.keyboard"), symbol: "touch", act: onTouchKeyboard } as const]
      : []),
    ...(found?.home ? [{ id: "files", label: t("viewer.files"), symbol: "files", panel: "files" } as const] : []),
    ...(found?.streams?.includes("audio")
      ? [
          {
            id: "sound",
            label: t("viewer.sound"),
            symbol: viewer.sound.value === "off" || viewer.sound.value === "unsupported" ? "silent" : "sound",
            pressed: viewer.sound.value === "waiting" || viewer.sound.value === "playing",
            act: () => {
              viewer.toggleSound();
              if (viewer.sound.value === "unsupported") toast(t("viewer.sound.unsupported"), "bad");
            },
          } as const,
        ]
      : []),
    { id: "picture", label: t("viewer.picture"), symbol: "picture", act: () => void savePicture(viewer) },
    ...(document.fullscreenEnabled
      ? [
          {
            id: "fullscreen",
            label: t("viewer.fullscreen"),
            symbol: full ? "window" : "fullscreen",
            pressed: full,
            act: () => void toggleFullscreen(),
          } as const,
        ]
      : []),
    ...(mayOnlyLook
      ? []
      : [
          {
            id: "view-only",
            label: t("viewer.viewOnly"),
            symbol: "eye",
            pressed: viewOnly.value,
            act: () => (viewOnly.value = !viewOnly.value),
          } as const,
        ]),
    ...(guest
      ? []
      : [
          { id: "share", label: t("viewer.share"), symbol: "share", panel: "share" } as const,
          { id: "stop", label: t("viewer.stop"), symbol: "stop", act: () => setStopping(true) } as const,
        ]),
  ];
  const current = Math.min(active, items.length - 1);

  const onKeyDown = (event: KeyboardEvent) => {
    const tools = [...(bar.current?.querySelectorAll<HTMLElement>("a, button") ?? [])];
    const focused = tools.findIndex((tool) => tool === document.activeElement);
    const places: Record<string, number> = {
      ArrowRight: (focused + 1) % tools.length,
      ArrowLeft: (focused + tools.length - 1) % tools.length,
      Home: 0,
      End: tools.length - 1,
    };
    const place = places[event.key];
    if (place === undefined) return;
    event.preventDefault();
    setActive(place);
    tools[place]?.focus({ preventScroll: true });
  };
  const closePanel = (byKeyboard: boolean) => {
    const button = bar.current?.querySelector<HTMLElement>(`#tool-${panel.value}`);
    panel.value = undefined;
    if (byKeyboard) button?.focus();
    else viewer.focus();
  };

  return (
    <div
      ref={dock}
      class="dock"
      data-shown={shown || panel.value !== undefined}
      onPointerLeave={() => hideAfter(STAYS)}
      onFocusCapture={() => show()}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || event.defaultPrevented) return;
        if (panel.value) closePanel(true);
        else leave();
      }}
    >
      <button type="button" class="handle" aria-label={t("viewer.toolbar.show")} onClick={() => show(STAYS_FIRST)}>
        <Symbol name="grip" />
      </button>
      <div class="tools">
        <div ref={bar} role="toolbar" aria-label={t("viewer.toolbar")} onKeyDown={onKeyDown}>
          {items.map((item, index) => (
            <Tool
              key={item.id}
              item={item}
              tabIndex={index === current ? 0 : -1}
              onUse={(event) => {
                setActive(index);
                if (item.panel) panel.value = panel.value === item.panel ? undefined : item.panel;
                item.act?.();
                // Whoever uses a pointer goes on in the desktop; a click by a key counts no clicks.
                if (event.detail > 0 && panel.value === undefined && item.id !== "stop" && item.id !== "touch") viewer.focus();
              }}
            />
          ))}
        </div>
        {found && <p class="about">{guest || mayOnlyLook ? `${found.title} · ${rightsText(viewer.rights.value)}` : found.title}</p>}
        <p class="hint">{t("viewer.toolbar.hint", { keys: CHORD_TEXT })}</p>
      </div>
      {panel.value && <Panel key={panel.value} name={panel.value} viewer={viewer} onClose={closePanel} />}
      {stopping && (
        <Confirmation
          title={t("viewer.stop.title")}
          text={t(found?.home ? "viewer.stop.kept" : "viewer.stop.lost")}
          action={t("viewer.stop.action")}
          onConfirm={() => {
            panel.value = undefined;
            viewer.stop().catch((error: unknown) => toast(error instanceof Error ? error.message : String(error), "bad"));
          }}
          onClose={() => setStopping(false)}
        />
      )}
    </div>
  );
}

/** What a share gives, and for how long. */
function rightsText({ role, expires }: Rights): string {
  const text = t(`viewer.rights.${role}`);
  return expires === undefined ? text : t("viewer.rights.until", { text, when: relativeTime(expires, now.value, language.value) });
}

function Tool({ item, tabIndex, onUse }: { item: Item; tabIndex: number; onUse: (event: MouseEvent) => void }) {
  const shared = {
    id: `tool-${item.id}`,
    class: item.marked ? "button quiet icon-only marked" : "button quiet icon-only",
    "aria-label": item.label,
    title: item.label,
    tabIndex,
  };
  const symbol = item.symbol;
  if (item.href !== undefined) {
    return (
      <a {...shared} href={item.href}>
        <Symbol name={symbol} />
      </a>
    );
  }
  return (
    <button
      {...shared}
      type="button"
      {...(item.panel ? { "aria-expanded": panel.value === item.panel } : {})}
      {...(item.pressed === undefined ? {} : { "aria-pressed": item.pressed })}
      onClick={onUse}
    >
      <Symbol name={symbol} />
    </button>
  );
}

function Panel({ name, viewer, onClose }: { name: PanelName; viewer: Viewer; onClose: (byKeyboard: boolean) => void }) {
  const section = useRef<HTMLElement>(null);
  useLayoutEffect(() => section.current?.focus({ preventScroll: true }), []);
  const Body = panels[name];
  return (
    <section ref={section} class="panel" data-panel={name} role="dialog" aria-labelledby="panel-title" tabIndex={-1}>
      <header>
        <h2 id="panel-title">{t(`viewer.${name}`)}</h2>
        <button
          type="button"
          class="button quiet icon-only"
          aria-label={t("close")}
          onClick={({ detail }) => onClose(detail === 0)}
        >
          <Icon name="close" />
        </button>
      </header>
      <div class="stack">
        <Body viewer={viewer} />
      </div>
    </section>
  );
}

async function savePicture(viewer: Viewer): Promise<void> {
  const picture = await viewer.picture();
  if (picture) save(picture, pictureName(viewer.desktop.value?.title ?? "CoSage", new Date()));
}

async function toggleFullscreen(): Promise<void> {
  if (document.fullscreenElement) return document.exitFullscreen();
  await document.documentElement.requestFullscreen();
  // Where the browser can, keys such as Escape and Alt+Tab go to the desktop as well.
  const { keyboard } = navigator as { keyboard?: { lock?: () => Promise<void> } };
  await keyboard?.lock?.().catch(() => undefined);
}
