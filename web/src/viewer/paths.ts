// Paths below a home: names with slashes between them, none at either end. The home itself is the empty path.

/** A path as a URL has it. */
export const filePath = (path: string): string => path.split("/").map(encodeURIComponent).join("/");

export const join = (directory: string, name: string): string => (directory === "" ? name : `${directory}/${name}`);

export const nameOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

/** The directories on the way to a path, from the home on, itself included. */
export function steps(path: string): { name: string; path: string }[] {
  if (path === "") return [];
  return path.split("/").map((name, index, names) => ({ name, path: names.slice(0, index + 1).join("/") }));
}

/** A name for a picture that is saved: what it shows, and when, in signs that every file system takes. */
export function pictureName(title: string, at: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const time = `${two(at.getHours())}.${two(at.getMinutes())}.${two(at.getSeconds())}`;
  return `${title.replace(/[\u0000-\u001f"*/:<>?\\|]+/g, "-").trim() || "desktop"} ${date} ${time}.png`;
}
