// Files of a desktop's home: lists, and transfers with progress.
import { signal } from "@preact/signals";

import { ApiError } from "../shared/api.ts";
import { address } from "../shared/base.ts";

export interface Entry {
  name: string;
  /** As it stands in a URL, where `name` does not have all of it. */
  encoded_name?: string;
  type: "file" | "directory" | "link" | "other";
  /** Bytes. */
  size: number;
  modified?: string;
}

export interface Directory {
  entries: Entry[];
  /** Where there are more entries: what comes before the next ones. */
  next?: string;
  /** Bytes that its disk has left. */
  free: number;
  /** Bytes that a file may have that is put there. */
  upload_max: number;
}

/** `path` is encoded, as all paths here are. */
export const fileAddress = (uid: string, path: string): string =>
  address(`api/vm/${encodeURIComponent(uid)}/files/${path}`);

/** Where a browser saves a file from; a directory comes as a tar archive. */
export const downloadAddress = (uid: string, path: string, type: Entry["type"]): string =>
  fileAddress(uid, path) + (type === "directory" ? "?archive=tar" : "");

async function refused(response: Response): Promise<ApiError> {
  const problem = (await response.json().catch(() => ({}))) as { details?: string; code?: string };
  return new ApiError(response.status, problem.code ?? "unreachable", problem.details ?? `${response.status} ${response.statusText}`);
}

/** Entries that are listed at a time: as many as somebody looks through, and a page shows at once. */
const PAGE = 500;

/** The first entries of a directory, or those that come after a page that had `after` as its `next`. */
export async function list(uid: string, path: string, after?: string, signal?: AbortSignal): Promise<Directory> {
  const query = `?limit=${PAGE}` + (after === undefined ? "" : `&after=${encodeURIComponent(after)}`);
  const response = await fetch(fileAddress(uid, path) + query, {
    headers: { Accept: "application/json" },
    ...(signal ? { signal } : {}),
  });
  if (!response.ok) throw await refused(response);
  return (await response.json()) as Directory;
}

/** Whether something is there, also behind the first page of its directory. */
export async function exists(uid: string, path: string): Promise<boolean> {
  const { status, ok } = await fetch(fileAddress(uid, path), { method: "HEAD" });
  if (!ok && status !== 404) throw new ApiError(status, "unreachable", `${status}`);
  return ok;
}

export async function remove(uid: string, path: string): Promise<void> {
  const response = await fetch(fileAddress(uid, path), { method: "DELETE" });
  if (!response.ok) throw await refused(response);
}

export interface Upload {
  id: number;
  path: string;
  /** Bytes. */
  size: number;
  sent: number;
  state: "waiting" | "sending" | "done" | "failed" | "cancelled";
  /** Why it failed. */
  problem?: ApiError;
}

/** Uploads that run at the same moment; more would only share the same line. */
const PARALLEL = 2;

/** Uploads, in the order in which they were asked for. */
export class Uploads {
  readonly list = signal<Upload[]>([]);
  readonly #uid: string;
  readonly #onDone: (upload: Upload) => void;
  readonly #files = new Map<number, File>();
  readonly #requests = new Map<number, XMLHttpRequest>();
  #next = 0;

  constructor(uid: string, onDone: (upload: Upload) => void) {
    this.#uid = uid;
    this.#onDone = onDone;
  }

  add(files: { path: string; file: File }[]): void {
    const added = files.map(({ path, file }): Upload => {
      const id = this.#next++;
      this.#files.set(id, file);
      return { id, path, size: file.size, sent: 0, state: "waiting" };
    });
    this.list.value = [...this.list.value, ...added];
    this.#proceed();
  }

  cancel(id: number): void {
    this.#requests.get(id)?.abort();
    if (this.list.value.some((upload) => upload.id === id && upload.state === "waiting")) {
      this.#files.delete(id);
      this.#change(id, { state: "cancelled" });
    }
  }

  /** Forgets those that are over. */
  clear(): void {
    this.list.value = this.list.value.filter(({ state }) => state === "waiting" || state === "sending");
  }

  get busy(): boolean {
    return this.list.value.some(({ state }) => state === "waiting" || state === "sending");
  }

  #change(id: number, change: Partial<Upload>): void {
    this.list.value = this.list.value.map((upload) => (upload.id === id ? { ...upload, ...change } : upload));
  }

  #proceed(): void {
    const sending = this.list.value.filter(({ state }) => state === "sending").length;
    const waiting = this.list.value.filter(({ state }) => state === "waiting");
    for (const upload of waiting.slice(0, Math.max(0, PARALLEL - sending))) this.#send(upload);
  }

  #send({ id, path }: Upload): void {
    // `fetch` does not tell how much of a body is sent.
    const request = new XMLHttpRequest();
    this.#requests.set(id, request);
    this.#change(id, { state: "sending" });
    request.upload.addEventListener("progress", ({ loaded }) => this.#change(id, { sent: loaded }));
    request.addEventListener("load", () => {
      const { status } = request;
      this.#end(id, status >= 200 && status < 300 ? { state: "done" } : { state: "failed", problem: problemOf(request) });
    });
    // A service that refuses a large file early may close the connection while the browser still sends.
    request.addEventListener("error", () => this.#end(id, { state: "failed", problem: new ApiError(0, "unreachable", "") }));
    request.addEventListener("abort", () => this.#end(id, { state: "cancelled" }));
    const file = this.#files.get(id);
    const modified = file ? `?modified=${encodeURIComponent(new Date(file.lastModified).toISOString())}` : "";
    request.open("PUT", fileAddress(this.#uid, path) + modified);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.send(file ?? null);
  }

  #end(id: number, change: Partial<Upload>): void {
    this.#requests.delete(id);
    this.#files.delete(id);
    this.#change(id, change);
    const upload = this.list.value.find((upload) => upload.id === id);
    if (upload?.state === "done") this.#onDone(upload);
    this.#proceed();
  }
}

function problemOf(request: XMLHttpRequest): ApiError {
  let problem: { details?: string; code?: string } = {};
  try {
    problem = JSON.parse(request.responseText) as typeof problem;
  } catch {
    // A proxy's own page.
  }
  const details = problem.details ?? `${request.status} ${request.statusText}`;
  return new ApiError(request.status, problem.code ?? "unreachable", details);
}

/** The files of something that was dropped, those in directories as well; each with its path from there. */
export async function droppedFiles(items: DataTransferItemList): Promise<{ path: string; file: File }[]> {
  // All of them before anything is waited for: the list is emptied when the event is over.
  const dropped = Array.from(items, (item) => ({ entry: item.webkitGetAsEntry(), file: item.getAsFile() }));
  const found = await Promise.all(
    dropped.map(({ entry, file }) => (entry ? filesIn(entry) : file ? [{ path: file.name, file }] : [])),
  );
  return found.flat();
}

async function filesIn(entry: FileSystemEntry): Promise<{ path: string; file: File }[]> {
  const path = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    return [{ path, file }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const inside: FileSystemEntry[] = [];
  for (;;) {
    const part = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) break;
    inside.push(...part);
  }
  return (await Promise.all(inside.map(filesIn))).flat();
}
