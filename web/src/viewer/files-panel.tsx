// The home of the desktop: what is in it, what leaves it and what is put into it.
import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";

import { ApiError } from "../shared/api.ts";
import { Confirmation } from "../shared/dialog.tsx";
import { bytes, relativeTime } from "../shared/format.ts";
import { language, t } from "../shared/i18n.ts";
import { Icon } from "../shared/icons.tsx";
import { toast } from "../shared/toast.tsx";
import { downloadAddress, exists, list, remove, type Directory, type Entry, type Upload } from "./files.ts";
import { encoded, join, nameOf, steps } from "./paths.ts";
import { Symbol } from "./symbols.tsx";
import type { Viewer } from "./viewer.ts";

/** The directory that is shown, and that uploads go to. */
export const directory = signal("");

/** Files on their way in that have the name of one that is there. */
const replacing = signal<{ add: () => void; names: string[] } | undefined>(undefined);

const complaint = (error: unknown): string =>
  error instanceof ApiError && error.code !== "unreachable" ? error.message : t("viewer.uploads.unreachable");

/** What is too large for the service or for its disk, in words; nothing of that is sent. */
function excess(files: { path: string; file: File }[], { free, upload_max }: Directory): string | undefined {
  const large = files.find(({ file }) => file.size > upload_max);
  if (large) return t("viewer.uploads.large", { name: large.path, limit: bytes(upload_max, language.value) });
  const all = files.reduce((sum, { file }) => sum + file.size, 0);
  return all > free ? t("viewer.uploads.full", { free: bytes(free, language.value) }) : undefined;
}

/** Uploads into the directory that is shown; asks before something is replaced. */
export async function upload(viewer: Viewer, files: { path: string; file: File }[]): Promise<void> {
  if (!files.length) return;
  const into = directory.value;
  try {
    const there = await list(viewer.uid, into);
    const problem = excess(files, there);
    if (problem !== undefined) return toast(problem, "bad");
    const taken = new Set(there.entries.map(({ name }) => name));
    const wanted = [...new Set(files.map(({ path }) => path.split("/")[0] ?? path))];
    // Of a directory that has more entries than a page, each is asked for.
    const isThere = (name: string) => taken.has(name) || (there.next !== undefined && exists(viewer.uid, join(into, encoded(name))));
    const found = await Promise.all(wanted.map(isThere));
    const names = wanted.filter((_, index) => found[index]);
    const add = () => viewer.uploads.add(files.map(({ path, file }) => ({ path: join(into, encoded(path)), file })));
    if (names.length) replacing.value = { add, names };
    else add();
  } catch (error) {
    toast(complaint(error), "bad");
  }
}

export const Replacing = () => {
  const question = replacing.value;
  if (!question) return null;
  return (
    <Confirmation
      title={t("viewer.files.replace.title", { n: question.names.length })}
      text={t("viewer.files.replace.text", { names: question.names.join(", ") })}
      action={t("viewer.files.replace.action")}
      onConfirm={question.add}
      onClose={() => (replacing.value = undefined)}
    />
  );
};

export function FilesPanel({ viewer }: { viewer: Viewer }) {
  const [entries, setEntries] = useState<Entry[] | undefined>(undefined);
  const [next, setNext] = useState<string | undefined>(undefined);
  const [problem, setProblem] = useState("");
  const [hidden, setHidden] = useState(false);
  const [deleting, setDeleting] = useState<Entry | undefined>(undefined);
  const [reads, setReads] = useState(0);
  const picker = useRef<HTMLInputElement>(null);
  const path = directory.value;
  const arrived = viewer.arrived.value;

  const reading = useRef(new AbortController());

  /** Reads the first page, or the one that comes after. */
  const read = (after?: string) => {
    const { signal } = reading.current;
    // A second click would read the same page again.
    setNext(undefined);
    list(viewer.uid, path, after, signal).then(
      (page) => {
        if (signal.aborted) return;
        setProblem("");
        setEntries((before) => (after === undefined ? page.entries : [...(before ?? []), ...page.entries]));
        setNext(page.next);
      },
      (error: unknown) => {
        if (signal.aborted) return;
        setProblem(complaint(error));
        setNext(after);
      },
    );
  };

  useEffect(() => {
    reading.current = new AbortController();
    read();
    return () => reading.current.abort();
  }, [viewer, path, arrived, reads]);

  const go = (to: string) => {
    setEntries(undefined);
    directory.value = to;
  };
  const shown = entries?.filter(({ name }) => hidden || !name.startsWith("."));
  return (
    <>
      <nav class="steps" aria-label={t("viewer.files.path")}>
        <button type="button" class="button quiet" onClick={() => go("")}>
          {t("viewer.files.home")}
        </button>
        {steps(path).map((step) => (
          <button key={step.path} type="button" class="button quiet" onClick={() => go(step.path)}>
            {step.name}
          </button>
        ))}
      </nav>
      {problem !== "" && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      {!shown && problem === "" && <p class="hint">{t("viewer.files.loading")}</p>}
      {shown?.length === 0 && next === undefined && <p class="hint">{t("viewer.files.empty")}</p>}
      {shown && shown.length > 0 && (
        <ul class="entries">
          {shown.map((entry) => (
            <Row key={part(entry)} viewer={viewer} entry={entry} go={go} onDelete={() => setDeleting(entry)} />
          ))}
        </ul>
      )}
      {shown && next !== undefined && (
        <button type="button" class="button quiet" onClick={() => read(next)}>
          {t("viewer.files.more")}
        </button>
      )}
      <label class="check">
        <input type="checkbox" checked={hidden} onChange={() => setHidden(!hidden)} />
        {t("viewer.files.hidden")}
      </label>
      <input
        ref={picker}
        type="file"
        multiple
        hidden
        onChange={({ currentTarget }) => {
          void upload(viewer, Array.from(currentTarget.files ?? [], (file) => ({ path: file.name, file })));
          currentTarget.value = "";
        }}
      />
      <button type="button" class="button" onClick={() => picker.current?.click()}>
        <Symbol name="upload" />
        {t("viewer.files.upload")}
      </button>
      <UploadList viewer={viewer} />
      {deleting && (
        <Confirmation
          title={t("viewer.files.delete.title", { name: deleting.name })}
          text={t(deleting.type === "directory" ? "viewer.files.delete.directory" : "viewer.files.delete.text")}
          action={t("viewer.files.delete.action")}
          onConfirm={() => {
            remove(viewer.uid, join(path, part(deleting))).then(
              () => setReads((count) => count + 1),
              (error: unknown) => toast(complaint(error), "bad"),
            );
          }}
          onClose={() => setDeleting(undefined)}
        />
      )}
    </>
  );
}

/** What an entry adds to the path of its directory. */
const part = ({ name, encoded_name }: Entry): string => encoded_name ?? encodeURIComponent(name);

function Row(props: { viewer: Viewer; entry: Entry; go: (path: string) => void; onDelete: () => void }) {
  const { viewer, entry, go, onDelete } = props;
  const { name, type } = entry;
  const path = join(directory.value, part(entry));
  const saveAs = type === "directory" ? `${name}.tar` : name;
  const label = t(type === "directory" ? "viewer.files.archive" : "viewer.files.download", { name });
  return (
    <li>
      {type === "directory" ? (
        <button type="button" class="entry" aria-label={t("viewer.files.open", { name })} onClick={() => go(path)}>
          <Symbol name="files" />
          <span>{name}</span>
        </button>
      ) : (
        <span class="entry">
          <Symbol name={type === "link" ? "link" : "file"} />
          <span>{name}</span>
        </span>
      )}
      <span class="hint">
        {type === "file" && `${bytes(entry.size, language.value)} · `}
        {entry.modified && relativeTime(entry.modified, Date.now(), language.value, "narrow")}
      </span>
      {type !== "other" && (
        <a
          class="button quiet icon-only"
          href={downloadAddress(viewer.uid, path, type)}
          download={saveAs}
          aria-label={label}
          title={label}
        >
          <Symbol name="download" />
        </a>
      )}
      <button
        type="button"
        class="button quiet icon-only"
        aria-label={t("viewer.files.delete", { name })}
        title={t("viewer.files.delete", { name })}
        onClick={onDelete}
      >
        <Icon name="remove" />
      </button>
    </li>
  );
}

function UploadList({ viewer }: { viewer: Viewer }) {
  const { uploads } = viewer;
  if (!uploads.list.value.length) return null;
  return (
    <section class="uploads" aria-label={t("viewer.uploads")}>
      <ul>
        {uploads.list.value.map((upload) => (
          <li key={upload.id}>
            <span class="entry">
              <span>{nameOf(upload.path)}</span>
            </span>
            <UploadState upload={upload} />
            {(upload.state === "waiting" || upload.state === "sending") && (
              <button
                type="button"
                class="button quiet icon-only"
                aria-label={t("viewer.uploads.cancel", { name: nameOf(upload.path) })}
                onClick={() => uploads.cancel(upload.id)}
              >
                <Icon name="close" />
              </button>
            )}
          </li>
        ))}
      </ul>
      {!uploads.busy && (
        <button type="button" class="button quiet" onClick={() => uploads.clear()}>
          {t("viewer.uploads.clear")}
        </button>
      )}
    </section>
  );
}

function UploadState({ upload }: { upload: Upload }) {
  switch (upload.state) {
    case "sending": {
      const share = upload.size > 0 ? upload.sent / upload.size : 0;
      return (
        <span
          class="bar"
          role="progressbar"
          aria-label={nameOf(upload.path)}
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuenow={Math.floor(share * 100)}
        >
          <span style={{ scale: `${share} 1` }} />
        </span>
      );
    }
    case "failed":
      return (
        <span class="problem" role="alert">
          {complaint(upload.problem)}
        </span>
      );
    case "waiting":
    case "done":
    case "cancelled":
      return <span class="hint">{t(`viewer.uploads.${upload.state}`)}</span>;
  }
}
