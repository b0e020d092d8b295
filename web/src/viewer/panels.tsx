// The toolbar's panels: display, clipboard, keys.
import type { Signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";

import { t } from "../shared/i18n.ts";
import { Choices, Licences } from "../shared/page.tsx";
import { toast } from "../shared/toast.tsx";
import { Clipboard } from "./clipboard.ts";
import { copyField } from "./copy.ts";
import { onMac } from "./keyboard.ts";
import { keys, keysymsOf } from "./keysyms.ts";
import { remember } from "./settings.ts";
import type { Viewer } from "./viewer.ts";

export function DisplayPanel({ viewer }: { viewer: Viewer }) {
  const modes = (["remote", "scale", "off"] as const).filter((mode) => mode !== "remote" || viewer.rights.value.role === "control");
  const { resize, panning, quality, compression } = viewer.settings;
  return (
    <>
      <fieldset class="choice">
        <legend class="label">{t("viewer.resize")}</legend>
        {modes.map((mode) => (
          <label key={mode}>
            <input
              type="radio"
              name="resize"
              checked={viewer.resize.value === mode}
              onChange={() => {
                resize.value = mode;
                remember("resize", mode);
              }}
            />
            {t(`viewer.resize.${mode}`)}
          </label>
        ))}
      </fieldset>
      {viewer.offersNative.value && (
        <div class="stack tight">
          <Switch name="native" on={viewer.settings.native} label={t("viewer.native")} />
          <p class="hint">{t("viewer.native.note")}</p>
        </div>
      )}
      {viewer.resize.value === "off" && (
        <label class="check">
          <input type="checkbox" checked={panning.value} onChange={() => (panning.value = !panning.value)} />
          {t("viewer.panning")}
        </label>
      )}
      {([["quality", quality], ["compression", compression]] as const).map(([name, level]) => (
        <div class="field" key={name}>
          <label for={`display-${name}`}>{t(`viewer.${name}`)}</label>
          <div class="level">
            <span class="hint">{t("viewer.levels.low")}</span>
            <input
              id={`display-${name}`}
              type="range"
              min={0}
              max={9}
              value={level.value}
              onInput={({ currentTarget }) => {
                level.value = Number(currentTarget.value);
                remember(name, level.value);
              }}
            />
            <span class="hint">{t("viewer.levels.high")}</span>
          </div>
        </div>
      ))}
      <Choices />
      <Licences />
    </>
  );
}

/** A setting that is on or off, and remembered. */
function Switch({ name, on, label }: { name: "clipboard" | "command" | "native"; on: Signal<boolean>; label: string }) {
  return (
    <label class="check">
      <input
        type="checkbox"
        checked={on.value}
        onChange={() => {
          on.value = !on.value;
          remember(name, on.value ? "on" : "off");
        }}
      />
      {label}
    </label>
  );
}

export function ClipboardPanel({ viewer }: { viewer: Viewer }) {
  const { clipboard: automatic } = viewer.settings;
  const pastes = viewer.pastes.value;
  const [reading, setReading] = useState<PermissionState>("denied");
  const [text, setText] = useState("");
  const copied = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    void Clipboard.reading().then(setReading);
  }, []);
  return (
    <>
      {Clipboard.available && <Switch name="clipboard" on={automatic} label={t("viewer.clipboard.automatic")} />}
      {automatic.value && pastes && reading === "prompt" && (
        <button
          type="button"
          class="button"
          onClick={() => void viewer.clipboard.allow().then(() => Clipboard.reading().then(setReading))}
        >
          {t("viewer.clipboard.allow")}
        </button>
      )}
      {reading !== "granted" && pastes && <p class="hint">{t(onMac ? "viewer.clipboard.keys.mac" : "viewer.clipboard.keys")}</p>}
      <div class="field">
        <label for="clipboard-from">{t("viewer.clipboard.from")}</label>
        <textarea id="clipboard-from" ref={copied} class="input" rows={3} readOnly value={viewer.copied.value} />
        <button
          type="button"
          class="button"
          disabled={viewer.copied.value === ""}
          onClick={() => copied.current && void copyField(copied.current).then(() => (viewer.held.value = false))}
        >
          {t("viewer.copy")}
        </button>
      </div>
      {pastes && (
        <div class="field">
          <label for="clipboard-to">{t("viewer.clipboard.to")}</label>
          <textarea
            id="clipboard-to"
            class="input"
            rows={3}
            value={text}
            onInput={({ currentTarget }) => setText(currentTarget.value)}
          />
          <button
            type="button"
            class="button"
            disabled={text === ""}
            onClick={() => {
              if (viewer.clipboard.give(text)) toast(t("viewer.clipboard.sent"));
            }}
          >
            {t("viewer.clipboard.send")}
          </button>
        </div>
      )}
    </>
  );
}

const modifiers = [
  ["Ctrl", keys.ControlL],
  ["Alt", keys.AltL],
  ["Shift", keys.ShiftL],
  ["Super", keys.SuperL],
] as const;

/** Names as they are printed on keyboards, and how they are called where that is only a sign. */
const presses: readonly (readonly [string, number, string?])[] = [
  ["Esc", keys.Escape],
  ["Tab", keys.Tab],
  ["Enter", keys.Return],
  ["⌫", keys.BackSpace, "Backspace"],
  ["Del", keys.Delete],
  ["Ins", keys.Insert],
  ["Home", keys.Home],
  ["End", keys.End],
  ["PgUp", keys.PageUp],
  ["PgDn", keys.PageDown],
  ["←", keys.Left, "Left"],
  ["↑", keys.Up, "Up"],
  ["↓", keys.Down, "Down"],
  ["→", keys.Right, "Right"],
  ["Print", keys.Print],
  ["Menu", keys.Menu],
  ...Array.from({ length: 12 }, (_, index) => [`F${index + 1}`, keys.F1 + index] as const),
];

export function KeysPanel({ viewer }: { viewer: Viewer }) {
  const [held, setHeld] = useState<readonly number[]>([]);
  const [text, setText] = useState("");
  const now = useRef(held);
  now.current = held;
  // A key that stays down on the desktop when nobody sees that it is would be a riddle.
  useEffect(() => () => now.current.forEach((keysym) => viewer.key(keysym, false)), [viewer]);
  const toggle = (keysym: number) => {
    const down = !held.includes(keysym);
    viewer.key(keysym, down);
    setHeld(down ? [...held, keysym] : held.filter((other) => other !== keysym));
  };
  const chord = (...keysyms: number[]) => {
    for (const keysym of keysyms) viewer.key(keysym, true);
    for (const keysym of keysyms.reverse()) viewer.key(keysym, false);
  };
  return (
    <>
      <div role="group" aria-labelledby="keys-hold">
        <p class="label" id="keys-hold">
          {t("viewer.keys.hold")}
        </p>
        <div class="keys">
          {modifiers.map(([name, keysym]) => (
            <button
              key={name}
              type="button"
              class="button"
              lang="en"
              aria-pressed={held.includes(keysym)}
              onClick={() => toggle(keysym)}
            >
              {name}
            </button>
          ))}
        </div>
      </div>
      <div role="group" aria-labelledby="keys-press">
        <p class="label" id="keys-press">
          {t("viewer.keys.press")}
        </p>
        <div class="keys">
          <button type="button" class="button wide" lang="en" onClick={() => chord(keys.ControlL, keys.AltL, keys.Delete)}>
            Ctrl+Alt+Del
          </button>
          <button type="button" class="button wide" lang="en" onClick={() => chord(keys.AltL, keys.Tab)}>
            Alt+Tab
          </button>
          {presses.map(([name, keysym, spoken]) => (
            <button key={name} type="button" class="button" lang="en" aria-label={spoken} onClick={() => viewer.key(keysym)}>
              {name}
            </button>
          ))}
        </div>
      </div>
      {onMac && (
        <div class="stack tight">
          <Switch name="command" on={viewer.settings.commandIsControl} label={t("viewer.keys.command")} />
          <p class="hint">{t("viewer.keys.command.note")}</p>
        </div>
      )}
      <form
        class="field"
        onSubmit={(event) => {
          event.preventDefault();
          void viewer.typist.type(keysymsOf(text));
          setText("");
        }}
      >
        <label for="keys-text">{t("viewer.keys.text")}</label>
        <textarea
          id="keys-text"
          class="input"
          rows={2}
          autocomplete="off"
          spellcheck={false}
          value={text}
          onInput={({ currentTarget }) => setText(currentTarget.value)}
        />
        <button type="submit" class="button" disabled={text === ""}>
          {t("viewer.keys.type")}
        </button>
      </form>
    </>
  );
}
