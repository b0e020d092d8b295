// Paths below a home, as a URL has them: encoded names with slashes between them, none at either end. The home itself is the
// empty path. Names of files are any bytes, so that only their encoded form is sure to be whole.

/** The path of a name, or of several with slashes between them. */
export const encoded = (text: string): string => text.split("/").map(encodeURIComponent).join("/");

export const join = (directory: string, path: string): string => (directory === "" ? path : `${directory}/${path}`);

/** A part of a path for people. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The last name of a path, for people. */
export const nameOf = (path: string): string => decoded(path.slice(path.lastIndexOf("/") + 1));

/** The directories on the way to a path, from the home on, itself included. */
export function steps(path: string): { name: string; path: string }[] {
  if (path === "") return [];
  return path.split("/").map((name, index, names) => ({ name: decoded(name), path: names.slice(0, index + 1).join("/") }));
}

/** A name for a picture that is saved: what it shows, and when, in signs that every file system takes. */
export function pictureName(title: string, at: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const time = `${two(at.getHours())}.${two(at.getMinutes())}.${two(at.getSeconds())}`;
  return `${title.replace(/[\u0000-\u001f"*/:<>?\\|]+/g, "-").trim() || "desktop"} ${date} ${time}.png`;
}
