// Every text of the console, in all its languages side by side, a file for each part of it. `{name}` is filled in; a text with
// `one` and `other` is chosen by the number in `{n}`, as the language wants it.
import { common } from "./messages/common.ts";
import { launcher } from "./messages/launcher.ts";
import { operations } from "./messages/operations.ts";
import { sharing } from "./messages/sharing.ts";
import { viewer } from "./messages/viewer.ts";

export const messages = { ...common, ...launcher, ...operations, ...viewer, ...sharing };
