// Dialogs: the browser's own, which keep the focus inside, close with Escape and give the focus back.
import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";

import { Icon } from "./icons.tsx";
import { t } from "./i18n.ts";

/** What is over sooner, in milliseconds, is not worth a flash. */
const briefly = 300;

export interface DialogProps {
  title: string;
  /** A drawer stands at the side and is as high as the window; a brief dialog is often closed before it is worth being seen. */
  kind?: "dialog" | "drawer" | "brief";
  /** The symbol of what it is about. */
  lead?: ComponentChildren;
  /** What has the focus at first: the title, which is then read out, or what has `autofocus` in it. */
  focus?: "title" | "content";
  /** Called however it is closed. */
  onClose: () => void;
  /** Buttons below; whatever needs no scrolling. */
  foot?: ComponentChildren;
  children: ComponentChildren;
}

/** A dialog that is open for as long as it is rendered. */
export function Dialog({ title, kind = "dialog", focus = "title", lead, onClose, foot, children }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  // Before the next key is heard, which may be for the dialog already.
  useLayoutEffect(() => {
    const opener = document.activeElement;
    return () => {
      if (opener instanceof HTMLElement) opener.focus();
    };
  }, []);
  useLayoutEffect(() => {
    const show = () => {
      if (!dialog.current?.open) dialog.current?.showModal();
    };
    if (kind !== "brief") return show();
    // Not even painted before: the machine may be busy with what the dialog is about.
    const timer = setTimeout(show, briefly);
    return () => clearTimeout(timer);
  }, [kind]);
  return (
    <dialog
      ref={dialog}
      class={kind}
      aria-labelledby={heading}
      onClose={onClose}
      onPointerDown={(event) => {
        // Beside the dialog is its backdrop.
        if (event.target === dialog.current) dialog.current?.close();
      }}
    >
      <div class="dialog-head">
        {lead}
        <h2 id={heading} tabIndex={-1} autofocus={focus === "title"}>
          {title}
        </h2>
        <button type="button" class="button quiet icon-only" aria-label={t("close")} onClick={() => dialog.current?.close()}>
          <Icon name="close" />
        </button>
      </div>
      <div class="dialog-body">{children}</div>
      {foot && <div class="dialog-foot">{foot}</div>}
    </dialog>
  );
}

/** Asks before something is lost. */
export function Confirmation(props: {
  title: string;
  text: string;
  action: string;
  onConfirm: () => void;
  onClose: () => void;
}) {
  return (
    <Dialog
      title={props.title}
      focus="content"
      onClose={props.onClose}
      foot={
        <>
          <button type="button" class="button" autofocus onClick={props.onClose}>
            {t("cancel")}
          </button>
          <button
            type="button"
            class="button danger"
            onClick={() => {
              props.onClose();
              props.onConfirm();
            }}
          >
            {props.action}
          </button>
        </>
      }
    >
      <p>{props.text}</p>
    </Dialog>
  );
}
