// The console in headless Chromium, with everything noted that must not happen on it.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { out } from "./out.mjs";
import { PATIENCE } from "./wait.mjs";

const axe = fileURLToPath(new URL("../node_modules/axe-core/axe.min.js", import.meta.url));

/**
 * Opens a page of the console: `path` is relative to `origin`, such as `http://127.0.0.1:4024`. What is noted in
 * `page.complaints` are requests to other hosts, violations of the Content-Security-Policy, and errors of scripts.
 */
export async function openConsole(browser, origin, path = "/", { width = 1280, height = 800, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, locale: "en-GB", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE * 1000);
  page.complaints = [];
  const { host } = new URL(origin);
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (/^(https?|wss?):$/.test(url.protocol) && url.host !== host) page.complaints.push(`request to ${url}`);
  });
  page.on("pageerror", (error) => page.complaints.push(`error ${error.stack ?? error}`));
  page.on("console", (message) => {
    if (/content.security.policy/i.test(message.text())) page.complaints.push(message.text());
  });
  loadPersistently(page);
  await page.goto(origin + path);
  return page;
}

/** More than the containers that come and go while one page loads. */
const LOADS = 20;

/**
 * Chromium gives up what it loads when a network interface comes or goes, as one does with every container. Then the page
 * loads again, but not for ever: `page.goto` and `page.reload` of this page do so.
 */
function loadPersistently(page) {
  const changed = "ERR_NETWORK_CHANGED";
  for (const name of ["goto", "reload"]) {
    const load = page[name].bind(page);
    page[name] = async (...options) => {
      for (let loads = 1; ; loads++) {
        // What the page is made of may be missing although its document is there.
        let whole = true;
        const note = (request) => {
          const part = ["script", "stylesheet"].includes(request.resourceType());
          if (part && request.failure().errorText.includes(changed)) whole = false;
        };
        page.on("requestfailed", note);
        try {
          const response = await load(...options);
          if (whole) return response;
          throw new Error(`${changed}: a part of ${page.url()} is missing`);
        } catch (error) {
          if (!error.message.includes(changed) || loads === LOADS) throw error;
        } finally {
          page.off("requestfailed", note);
        }
      }
    };
  }
}

/** What axe finds that is serious or worse, each as one line. */
export async function seriousFindings(page) {
  // A dialog that is just appearing has other colours for a moment.
  await page.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => {}))));
  await page.evaluate(await readFile(axe, "utf8"));
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target} (${failureSummary})`).join("; ")}`);
}

/** Keeps a picture for people to look at. */
export async function picture(page, name) {
  await page.screenshot({ path: join(await out(), `${name}.png`) });
}

/** Whether nothing of the page is wider than its window. */
export const fits = (page) => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);

/** Presses Tab until something of that accessible name has the focus, and fails when it never does. */
export async function tabTo(page, name, { key = "Tab", limit = 60 } = {}) {
  const seen = [];
  for (let turn = 0; turn < limit; turn++) {
    await page.keyboard.press(key);
    const at = await page.evaluate(() => {
      const element = document.activeElement;
      const visible = element?.matches(":focus-visible") ?? false;
      return { name: (element?.getAttribute("aria-label") ?? element?.textContent ?? "").trim(), visible };
    });
    seen.push(at.name);
    if (name instanceof RegExp ? name.test(at.name) : at.name === name) {
      if (!at.visible) throw new Error(`'${at.name}' has the focus, and it cannot be seen`);
      return;
    }
  }
  throw new Error(`${limit} times ${key} never come to ${name}; they come to: ${seen.join(" | ")}`);
}
