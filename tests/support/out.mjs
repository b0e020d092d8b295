// Where tests leave what a person may want to look at: screenshots, and the services' logs.
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const directory = fileURLToPath(new URL("../browser/out", import.meta.url));

/** The directory, made when it is not there. */
export async function out() {
  await mkdir(directory, { recursive: true });
  return directory;
}
