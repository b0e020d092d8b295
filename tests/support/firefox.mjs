// What a person does with the Firefox of a desktop.
import { until } from "./wait.mjs";

/** Somewhere in its address bar, from the upper left corner of the desktop. */
const ADDRESS_BAR = [520, 64];

/**
 * Opens an address in the tab that is selected. By the pointer, because Control+L is the page's before it is Firefox's, so
 * that what is typed after it at once may become the page's too.
 */
export async function openAddress(viewer, address) {
  await viewer.click(...ADDRESS_BAR);
  await viewer.page.keyboard.press("Control+a");
  await viewer.page.keyboard.type(address);
  await viewer.page.keyboard.press("Enter");
}

/**
 * Pastes by keys over all that is in a page's field, until the site has a report that fits. More than once if need be:
 * Firefox gives up on a clipboard that takes a second to come, as it may on a busy machine, and has it the next time.
 */
export function paste({ page }, site, what, fits, keys = "Control+v") {
  return until(what, async () => {
    await page.keyboard.press("Control+a");
    await page.keyboard.press(keys);
    return site.report(what, fits, 10);
  });
}

/** Expands a block of LZ4 (https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md). */
function expand(block, length) {
  const out = Buffer.alloc(length);
  let from = 0;
  let to = 0;
  // A length of 15 goes on in further bytes, the last of which is not 255.
  const long = (length) => {
    if (length < 15) return length;
    for (;;) {
      const more = block[from++];
      length += more;
      if (more !== 255) return length;
    }
  };
  while (from < block.length) {
    const token = block[from++];
    const literals = long(token >> 4);
    block.copy(out, to, from, from + literals);
    from += literals;
    to += literals;
    if (from >= block.length) break;
    const distance = block.readUInt16LE(from);
    from += 2;
    // A match may overlap what it makes, so byte by byte.
    for (let left = long(token & 15) + 4; left > 0; left--, to++) out[to] = out[to - distance];
  }
  return out;
}

/** The addresses of the tabs in a session that Firefox has saved (`*.jsonlz4`). */
export function savedTabs(file) {
  const magic = "mozLz40\0";
  if (file.subarray(0, magic.length).toString("latin1") !== magic) throw new Error("not a file of Firefox's session");
  const session = JSON.parse(expand(file.subarray(magic.length + 4), file.readUInt32LE(magic.length)));
  return session.windows.flatMap(({ tabs }) => tabs.map(({ entries, index }) => entries[index - 1]?.url));
}
