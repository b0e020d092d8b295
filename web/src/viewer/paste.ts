// How long a text may be that goes into a desktop's clipboard.

/** Bytes that a desktop's VNC server takes at most; it drops a longer text without a word (`-MaxCutText` of the images). */
export const PASTE_MAX = 16 * 1024 * 1024;

/** Bytes of a text as noVNC sends it: UTF-8, with CR LF for each end of a line and a NUL at the end (rfbproto, "Extended Clipboard Pseudo-Encoding"). */
export function pasteSize(text: string): number {
  const lines = text.match(/\r\n|\r|\n/g) ?? [];
  const added = lines.reduce((sum, end) => sum + 2 - end.length, 0);
  return new TextEncoder().encode(text).length + added + 1;
}
