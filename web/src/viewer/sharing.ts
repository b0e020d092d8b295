// The calls on who may do what at a desktop.
import { call, newUid, of, read, type ClipboardDirection, type Role, type Takeover } from "../shared/api.ts";
import { address } from "../shared/base.ts";
import { kept } from "../shared/storage.ts";

/** A further address of a desktop. */
export interface Share {
  id: string;
  role: Role;
  clipboard: ClipboardDirection;
  created_at: string;
  expires?: string;
}

/** One connection. */
export interface Connection {
  id: number;
  role: Role;
  since: string;
  /** The share it came by; absent when it came by the desktop's own address. */
  share?: string;
  /** What its page is called. */
  client?: string;
  address?: string;
}

/** What this page is called in its streams' addresses, by which it is known again after it was loaded anew. */
export const client: string = (() => {
  const tab = kept("client", "tab");
  const name = tab.read() ?? newUid();
  tab.write(name);
  return name;
})();

export interface Wish {
  role: Role;
  clipboard: ClipboardDirection;
  /** Seconds until it ends; never by default. */
  expires?: number | undefined;
}

export const shares = (uid: string): Promise<Share[]> => read(`${of(uid)}/shares`);

/** Makes a share and answers the address of its page, which nobody tells again. */
export async function share(uid: string, wish: Wish): Promise<string> {
  const response = await call("POST", `${of(uid)}/shares`, wish, { once: true });
  const { page } = (await response.json()) as { page: string };
  return address(page.replace(/^\//, ""));
}

export async function changeShare(uid: string, id: string, role: Role): Promise<void> {
  await call("PATCH", `${of(uid)}/shares/${id}`, { role });
}

/** Ends a share and the connections of those who came by it. */
export async function withdraw(uid: string, id: string): Promise<void> {
  await call("DELETE", `${of(uid)}/shares/${id}`);
}

export const connections = (uid: string): Promise<Connection[]> => read(`${of(uid)}/viewers`);

export async function changeConnection(uid: string, id: number, role: Role): Promise<void> {
  await call("PATCH", `${of(uid)}/viewers/${id}`, { role });
}

/** Whether this page keeps control, to which only desktops' own addresses give the calls. */
export const sparesThisPage = ({ except, share }: Takeover): boolean => except === client && share === undefined;

/** Takes control from all viewers but this page, those who connect later included. */
export async function takeControl(uid: string): Promise<void> {
  await call("PATCH", `${of(uid)}/viewers`, { role: "view", except: client });
}

/** Gives all viewers what their addresses give. */
export async function giveControlBack(uid: string): Promise<void> {
  await call("PATCH", `${of(uid)}/viewers`, { role: "control" });
}
