// The service's API, as far as the console calls it. Types are those of /openapi.json.
import { address } from "./base.ts";

export type Status = "asleep" | "starting" | "ready" | "stopping" | "restarting" | "failed";

/** How far a start is. */
export interface Progress {
  step: "queued" | "pulling" | "starting" | "waiting";
  /** 0 to 100, where it is known. */
  percent?: number;
}

/** Why what ran of a desktop ended. */
export type Ended = "idle" | "stopped" | "maximum_age" | "exited";

export interface Desktop {
  uid: string;
  app: string;
  title: string;
  status: Status;
  since: string;
  created_at: string;
  /** When it was last started, stopped or viewed, or its files were read or written. */
  used_at: string;
  /** When it is deleted unless it is used before; absent while it runs, and where it is kept for ever. */
  forgotten_at?: string;
  started_at?: string;
  viewers: number;
  /** How many of them came by a share link, and keep nothing alive. */
  guests?: number;
  streams: string[];
  home: boolean;
  /** Path of its stream, while it is ready. */
  url?: string;
  /** When it ends by itself if nothing else happens. */
  until?: string;
  /** Why it lives until then, in the service's words. */
  because: string;
  /** Control is taken from its viewers, but from the client of that name; absent while it is not. */
  takeover?: Takeover;
  progress?: Progress;
  /** Why what ran of it last ended; absent while it runs, and where that is not known any more. */
  ended?: Ended;
  failure?: string;
  failure_logs?: string;
  /** Time of its last picture. */
  picture?: string;
}

/** That control is taken from a desktop's viewers. */
export interface Takeover {
  /** The name of the client that keeps it. */
  except?: string;
  /** The share by which that client comes; absent where it comes by the desktop's own address. */
  share?: string;
}

export type Role = "control" | "view";

/** Which way texts go: both ways, or only from the desktop. */
export type ClipboardDirection = "both" | "out";

/** What whoever has a share's address is told: not the desktop's name. */
export interface SharedDesktop {
  title: string;
  status: Status;
  ended?: Ended;
  streams: string[];
  role: Role;
  clipboard: ClipboardDirection;
  /** When the share ends, if it does. */
  expires?: string;
}

/** What an app declares about one variable of its environment. */
export type Variable = {
  title: string;
  /** As the container gets it: a list is JSON text. */
  default: string | null;
  required: boolean;
} & (
  | { type: "text" | "boolean" | "url" | "host" | "urls" | "timezone" }
  | { type: "integer"; min: number; max: number }
  | { type: "choice" | "language"; options: string[] }
);

export interface App {
  name: string;
  title: string;
  description: string;
  /** Path on the service, or empty. */
  icon: string;
  aliases: string[];
  streams: string[];
  env: Record<string, Variable>;
  home: boolean;
  /** Whether its image is there; `null` where that is unknown or it needs none. */
  available: boolean | null;
}

export type Environment = Record<string, string | number | boolean | string[]>;

/** What the service refused, or that it could not be reached (`code` is `unreachable`, `status` 0). */
export class ApiError extends Error {
  readonly status: number;
  /** For programs; does not change. */
  readonly code: string;
  /** Last lines of a desktop that failed. */
  readonly logs: string | undefined;

  constructor(status: number, code: string, details: string, logs?: string) {
    super(details);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.logs = logs;
  }
}

/** Pauses before a call that did not reach the service is made again, in milliseconds. */
const retries = [200, 800];

/**
 * Makes a call that can be made twice without harm. A browser breaks one off whenever an interface of its machine comes
 * or goes, as happens with every container where the service runs on that machine, too.
 */
async function reach(path: string, request: RequestInit): Promise<Response> {
  for (const pause of retries) {
    try {
      return await fetch(address(path), request);
    } catch (error) {
      if (request.signal?.aborted) throw error;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
  return fetch(address(path), request);
}

/** One call. Whether it may be made again when it did not get through: `once` is for what would happen twice. */
export async function call(
  method: string,
  path: string,
  body?: unknown,
  { signal, once = false }: { signal?: AbortSignal | undefined; once?: boolean } = {},
): Promise<Response> {
  const request: RequestInit = { method };
  if (signal) request.signal = signal;
  if (body !== undefined) {
    request.body = JSON.stringify(body);
    request.headers = { "Content-Type": "application/json" };
  }
  let response: Response;
  try {
    response = await (once ? fetch(address(path), request) : reach(path, request));
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "unreachable", error instanceof Error ? error.message : String(error));
  }
  if (response.ok) return response;
  // A proxy in between answers with a page of its own.
  const problem = (await response.json().catch(() => ({}))) as { details?: string; code?: string; logs?: string };
  const details = problem.details ?? `${response.status} ${response.statusText}`;
  throw new ApiError(response.status, problem.code ?? "unreachable", details, problem.logs);
}

export const read = async <T>(path: string): Promise<T> => (await (await call("GET", path)).json()) as T;

/** Path of what the service has about a desktop. */
export const of = (uid: string): string => `api/vm/${encodeURIComponent(uid)}`;

export const catalog = (): Promise<App[]> => read("api/catalog");

/** A status, or `active`: any but `asleep` and `failed`. */
export type StatusFilter = Status | "active";

/** Which desktops, in which order. */
export interface PageQuery {
  sort?: "created" | "used" | "uid" | undefined;
  /** 1 to 1,000. */
  limit: number;
  /** `next` of the page before. */
  after?: string | undefined;
  app?: string | undefined;
  status?: StatusFilter | undefined;
  /** Words that the desktop's name or its app's contains. */
  q?: string | undefined;
}

export interface Page {
  desktops: Desktop[];
  /** Absent on the last page. */
  next?: string;
}

/** A page of desktops. */
export async function page(query: PageQuery, signal: AbortSignal): Promise<Page> {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  return (await (await call("GET", `api/vm?${text}`, undefined, { signal })).json()) as Page;
}

export const desktop = (uid: string): Promise<Desktop> => read(of(uid));

/** What a share's address leads to. */
export const shared = (token: string): Promise<SharedDesktop> => read(`stream/${encodeURIComponent(token)}`);

/** Makes sure that a desktop runs; answers when it can be connected to. A known uid needs neither app nor environment. */
export async function ensure(
  uid: string,
  request: { vm?: string; env?: Environment } = {},
  signal?: AbortSignal,
): Promise<{ uid: string; url: string }> {
  const response = await call("POST", `api/vm/any/${encodeURIComponent(uid)}`, request, { signal });
  return (await response.json()) as { uid: string; url: string };
}

/** Stops a desktop; `forget` deletes its record and its home as well. */
export async function stop(uid: string, { forget = false } = {}): Promise<void> {
  await call("DELETE", of(uid) + (forget ? "?forget=true" : ""));
}

/** How much disk a home takes, in bytes. */
export const measureHome = async (uid: string): Promise<number> =>
  (await read<{ disk_use: number }>(`api/homes/${encodeURIComponent(uid)}`)).disk_use;

/** The last lines a desktop wrote. */
export const logs = async (uid: string, lines = 200): Promise<string> =>
  (await call("GET", `${of(uid)}/logs?lines=${lines}`)).text();

/** Address of a desktop's last kept picture; absent where there is none. */
export const pictureAddress = ({ uid, picture }: Desktop, width: number): string | undefined =>
  picture && address(`${of(uid)}/screenshot?last=true&format=jpeg&width=${width}&at=${encodeURIComponent(picture)}`);

/** A name for a new desktop: a UUID, version 4. `crypto.randomUUID` is not there on a page without TLS. */
export function newUid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
