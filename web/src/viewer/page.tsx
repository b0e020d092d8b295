// The viewer's page: the screen, and what lies over it.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { t } from "../shared/i18n.ts";
import { toast, Toasts } from "../shared/toast.tsx";
import { directory, Replacing, upload } from "./files-panel.tsx";
import { droppedFiles } from "./files.ts";
import { onMac, onPasteKeys, releaseKeys, TouchKeyboard, translateKeys } from "./keyboard.ts";
import { nameOf } from "./paths.ts";
import type { Query } from "./query.ts";
import { Questions } from "./questions.tsx";
import { Status } from "./status.tsx";
import { Symbol } from "./symbols.tsx";
import { panel, Toolbar } from "./toolbar.tsx";
import { Viewer, type Way } from "./viewer.ts";

export function ViewerPage({ way, query, url }: { way: Way; query: Query; url: string | undefined }) {
  const screen = useRef<HTMLDivElement>(null);
  const last = useRef<HTMLCanvasElement>(null);
  const field = useRef<HTMLTextAreaElement>(null);
  const keyboard = useRef<TouchKeyboard>(undefined);
  const [viewer, setViewer] = useState<Viewer>();
  const [typing, setTyping] = useState(false);

  // Before anything is painted: the way to the desktop's picture is longer than that.
  useLayoutEffect(() => {
    if (!screen.current || !last.current || !field.current) return;
    const page = screen.current;
    const viewer = new Viewer(way, query, { screen: page, last: last.current }, ring);
    keyboard.current = new TouchKeyboard(field.current, viewer.typist, setTyping);
    const { clipboard, commandIsControl } = viewer.settings;
    translateKeys(page, () => commandIsControl.value);
    onPasteKeys(page, {
      wanted: () => clipboard.value && viewer.pastes.value && (!onMac || commandIsControl.value),
      onPaste: (text) => viewer.clipboard.give(text),
      press: (keysym) => viewer.key(keysym),
    });
    page.addEventListener("focusout", releaseKeys);
    addEventListener("beforeunload", (event) => {
      if (viewer.uploads.busy) event.preventDefault();
    });
    setViewer(viewer);
    viewer.begin(url);
  }, []);

  const live = viewer?.live.value ?? false;
  return (
    <main class="viewer" data-state={viewer?.state.value.name} data-live={live}>
      <canvas ref={last} class="last" width={0} height={0} aria-hidden="true" />
      <div ref={screen} class="screen" role="application" aria-label={viewer?.desktop.value?.title ?? t("viewer.screen")} />
      <textarea
        ref={field}
        class="touch-field"
        aria-label={t("viewer.keyboard")}
        tabIndex={-1}
        autocapitalize="off"
        autocomplete="off"
        autocorrect="off"
        spellcheck={false}
      />
      {viewer && (
        <>
          <Status viewer={viewer} />
          <Toolbar
            viewer={viewer}
            touchKeyboard={matchMedia("(any-pointer: coarse)").matches}
            onTouchKeyboard={() => (typing ? viewer.focus() : keyboard.current?.toggle())}
          />
          <Drop viewer={viewer} />
          <Replacing />
          <Questions viewer={viewer} />
        </>
      )}
      <Toasts />
    </main>
  );
}

/** Takes files that are dropped anywhere, where the desktop has a home to put them into. */
function Drop({ viewer }: { viewer: Viewer }) {
  const [over, setOver] = useState(false);
  useEffect(() => {
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const onOver = (event: DragEvent) => {
      if (!hasFiles(event)) return;
      // Without this the browser would leave the desktop and show the file.
      event.preventDefault();
      const takes = viewer.desktop.value?.home === true;
      if (event.dataTransfer) event.dataTransfer.dropEffect = takes ? "copy" : "none";
      setOver(takes);
    };
    const onLeave = (event: DragEvent) => event.relatedTarget === null && setOver(false);
    const onDrop = (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      setOver(false);
      if (!viewer.desktop.value?.home || !event.dataTransfer) return;
      panel.value = "files";
      droppedFiles(event.dataTransfer.items).then(
        (files) => upload(viewer, files),
        (error: unknown) => toast(String(error), "bad"),
      );
    };
    addEventListener("dragover", onOver, { capture: true });
    addEventListener("dragleave", onLeave, { capture: true });
    addEventListener("drop", onDrop, { capture: true });
    return () => {
      removeEventListener("dragover", onOver, { capture: true });
      removeEventListener("dragleave", onLeave, { capture: true });
      removeEventListener("drop", onDrop, { capture: true });
    };
  }, [viewer]);
  if (!over) return null;
  return (
    <div class="drop" aria-hidden="true">
      <p>
        <Symbol name="upload" />
        {t("viewer.files.drop", { place: directory.value === "" ? t("viewer.files.home") : nameOf(directory.value) })}
      </p>
    </div>
  );
}

let audio: AudioContext | undefined;

/** The desktop's bell: a short tone, where the browser lets the page be heard. */
function ring(): void {
  audio ??= new AudioContext();
  if (audio.state !== "running") return void audio.resume();
  const tone = audio.createOscillator();
  const volume = audio.createGain();
  volume.gain.setValueAtTime(0.08, audio.currentTime);
  volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + 0.25);
  tone.frequency.value = 880;
  tone.connect(volume).connect(audio.destination);
  tone.start();
  tone.stop(audio.currentTime + 0.25);
}
