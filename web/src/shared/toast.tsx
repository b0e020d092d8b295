// Short messages that come and go, and that a screen reader says.
import { signal } from "@preact/signals";

import { Icon } from "./icons.tsx";
import { t } from "./i18n.ts";

interface Toast {
  id: number;
  text: string;
  kind: "note" | "bad";
}

const lifetime = 6_000;

const toasts = signal<Toast[]>([]);
let nextId = 0;

const dismiss = (id: number) => {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
};

/** Shows a message. What went wrong stays until it is closed. */
export function toast(text: string, kind: Toast["kind"] = "note"): void {
  const id = nextId++;
  // The same complaint twice says no more than once.
  toasts.value = [...toasts.value.filter((toast) => toast.text !== text), { id, text, kind }];
  if (kind === "note") setTimeout(dismiss, lifetime, id);
}

export const Toasts = () => (
  <div class="toasts" role="status" aria-live="polite">
    {toasts.value.map(({ id, text, kind }) => (
      <div key={id} class={`toast ${kind}`}>
        <span>{text}</span>
        <button type="button" class="button quiet icon-only" aria-label={t("close")} onClick={() => dismiss(id)}>
          <Icon name="close" />
        </button>
      </div>
    ))}
  </div>
);
