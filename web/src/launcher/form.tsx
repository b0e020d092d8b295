// The form for an app's options, made from what the app declares.
import { useId } from "preact/hooks";

import type { Variable } from "../shared/api.ts";
import { t } from "../shared/i18n.ts";
import { Icon } from "../shared/icons.tsx";
import { isNeeded } from "./values.ts";
import type { Raw } from "./values.ts";

export interface FieldProps {
  name: string;
  variable: Variable;
  value: Raw;
  problem: string | undefined;
  autofocus: boolean;
  onChange: (value: Raw) => void;
}

/** A variable, asked for in the way that suits its type. */
export function Field({ name, variable, value, problem, autofocus, onChange }: FieldProps) {
  const id = useId();
  const title = variable.title || name;
  const help = hint(variable);
  const described = [problem && `${id}-problem`, help && `${id}-hint`].filter(Boolean).join(" ");
  const common = {
    name,
    autofocus,
    ...(described && { "aria-describedby": described }),
    ...(problem && { "aria-invalid": "true" as const }),
    ...(isNeeded(variable) && { "aria-required": "true" as const }),
  };
  const notes = (
    <>
      {problem && (
        <p class="problem" id={`${id}-problem`}>
          {problem}
        </p>
      )}
      {help && (
        <p class="hint" id={`${id}-hint`}>
          {help}
        </p>
      )}
    </>
  );
  if (variable.type === "boolean") {
    return (
      <div class="field">
        <label class="check">
          <input type="checkbox" {...common} checked={value === true} onChange={({ currentTarget }) => onChange(currentTarget.checked)} />
          {title}
        </label>
        {notes}
      </div>
    );
  }
  if (Array.isArray(value)) {
    return (
      <fieldset class="field rows">
        <legend class="label">{title}</legend>
        <Rows common={common} title={title} rows={value} onChange={onChange} />
        {notes}
      </fieldset>
    );
  }
  const text = String(value);
  return (
    <div class="field">
      <label for={id}>
        {title} {!variable.required && <span class="hint">{t("option.optional")}</span>}
      </label>
      {variable.type === "choice" ? (
        <select class="input" id={id} {...common} value={text} onChange={({ currentTarget }) => onChange(currentTarget.value)}>
          {variable.default === null && <option value="">{t("option.default")}</option>}
          {variable.options.map((option) => (
            <option key={option}>{option}</option>
          ))}
        </select>
      ) : (
        <input
          class="input"
          id={id}
          {...common}
          {...inputKind(variable)}
          value={text}
          onInput={({ currentTarget }) => onChange(currentTarget.value)}
        />
      )}
      {notes}
    </div>
  );
}

function Rows(props: { common: { autofocus: boolean }; title: string; rows: string[]; onChange: (rows: string[]) => void }) {
  const { rows, onChange } = props;
  const focus = (list: Element | null | undefined, index: number) =>
    requestAnimationFrame(() => list?.querySelectorAll("input")[index]?.focus());
  const add = (list: Element | null | undefined) => {
    onChange([...rows, ""]);
    focus(list, rows.length);
  };
  return (
    <>
      <ul class="url-rows">
        {rows.map((row, index) => (
          <li key={index}>
            <input
              class="input"
              {...props.common}
              {...urlInput}
              autofocus={index === 0 && props.common.autofocus}
              aria-label={`${props.title}, ${index + 1}`}
              value={row}
              onInput={({ currentTarget }) => onChange(rows.with(index, currentTarget.value))}
              onKeyDown={(event) => {
                if (event.key !== "Enter" || !row || event.isComposing) return;
                // Enter goes on to the next address, and from an empty one it starts the desktop.
                event.preventDefault();
                const list = event.currentTarget.closest("ul");
                if (index === rows.length - 1) add(list);
                else focus(list, index + 1);
              }}
            />
            {rows.length > 1 && (
              <button
                type="button"
                class="button quiet icon-only"
                aria-label={t("option.remove", { n: index + 1 })}
                onClick={({ currentTarget }) => {
                  const list = currentTarget.closest("ul");
                  onChange(rows.toSpliced(index, 1));
                  focus(list, Math.max(0, index - 1));
                }}
              >
                <Icon name="close" />
              </button>
            )}
          </li>
        ))}
      </ul>
      <button
        type="button"
        class="button quiet add"
        onClick={({ currentTarget }) => add(currentTarget.previousElementSibling)}
      >
        <Icon name="plus" /> {t("option.add")}
      </button>
    </>
  );
}

const plain = { autocomplete: "off", autocapitalize: "off", spellcheck: false } as const;
const urlInput = { ...plain, type: "text", inputMode: "url", placeholder: "https://example.org/" } as const;

function inputKind(variable: Variable) {
  switch (variable.type) {
    case "integer":
      return { ...plain, type: "text", inputMode: "numeric" } as const;
    case "url":
      return urlInput;
    default:
      return { ...plain, type: "text" } as const;
  }
}

/** What a field takes, where its title does not say. */
function hint(variable: Variable): string {
  if (variable.type !== "integer") return "";
  const { min, max } = variable;
  const bounded = Math.abs(min) < 1e9 && Math.abs(max) < 1e9;
  return bounded ? t("option.range", { min, max }) : "";
}
