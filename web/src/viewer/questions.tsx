// What a VNC server elsewhere wants to know before it shows its picture. The service answers for its own desktops.
import { useEffect, useState } from "preact/hooks";

import { Dialog } from "../shared/dialog.tsx";
import { t } from "../shared/i18n.ts";
import type { Viewer } from "./viewer.ts";

const kinds = ["username", "password", "target"] as const;

export function Questions({ viewer }: { viewer: Viewer }) {
  if (viewer.serverKey.value) return <ServerKey viewer={viewer} bytes={viewer.serverKey.value} />;
  const question = viewer.question.value;
  if (!question) return null;
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const said = new FormData(event.currentTarget as HTMLFormElement);
    viewer.answer(Object.fromEntries(kinds.flatMap((kind) => (said.has(kind) ? [[kind, String(said.get(kind))]] : []))));
  };
  return (
    <Dialog
      title={t("viewer.question")}
      onClose={() => viewer.question.value && viewer.decline()}
      foot={
        <button type="submit" form="question" class="button primary">
          {t("viewer.connect")}
        </button>
      }
    >
      {question.refused !== undefined && (
        <p class="problem">{t("viewer.question.refused", { reason: question.refused })}</p>
      )}
      <form id="question" class="stack" onSubmit={submit}>
        {kinds
          .filter((kind) => question.types.includes(kind))
          .map((kind) => (
            <div class="field" key={kind}>
              <label for={`question-${kind}`}>{t(`viewer.question.${kind}`)}</label>
              <input
                id={`question-${kind}`}
                class="input"
                name={kind}
                {...(kind === "password"
                  ? { type: "password", autocomplete: "current-password" }
                  : { type: "text", autocomplete: "off" })}
              />
            </div>
          ))}
      </form>
    </Dialog>
  );
}

function ServerKey({ viewer, bytes }: { viewer: Viewer; bytes: Uint8Array<ArrayBuffer> }) {
  const [fingerprint, setFingerprint] = useState("…");
  useEffect(() => {
    // Without TLS a page has no digests.
    const digest = globalThis.crypto.subtle as SubtleCrypto | undefined;
    if (!digest) return setFingerprint(t("viewer.key.insecure"));
    void digest.digest("SHA-256", bytes).then((digest) => {
      setFingerprint(Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join(":"));
    });
  }, [bytes]);
  return (
    <Dialog
      title={t("viewer.key")}
      onClose={() => viewer.serverKey.value && viewer.decline()}
      foot={
        <>
          <button type="button" class="button" onClick={() => viewer.decline()}>
            {t("cancel")}
          </button>
          <button type="button" class="button primary" onClick={() => viewer.approve()}>
            {t("viewer.connect")}
          </button>
        </>
      }
    >
      <p>{t("viewer.key.text")}</p>
      <p class="fingerprint">{fingerprint}</p>
    </Dialog>
  );
}
