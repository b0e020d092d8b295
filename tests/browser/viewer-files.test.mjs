// The viewer's files: into the home of a desktop and out of it again, with nothing changed on the way.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, describe, it } from "node:test";

import { keeper } from "../support/apps.mjs";
import { closePages, startBrowser } from "../support/browser.mjs";
import { startService } from "../support/service.mjs";
import { openViewer } from "../support/viewer.mjs";
import { until } from "../support/wait.mjs";

const MEBIBYTE = 1024 * 1024;
const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");

describe("the viewer's files", () => {
  let service, browser, viewer;

  before(async () => {
    browser = await startBrowser();
    service = await startService("viewer-files", { catalog: keeper, settings: { COSAGE_UPLOAD_MAX: "16MiB" } });
    await service.open("keeper", { vm: "keeper" });
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    await service?.stop();
  });

  async function open(panel = true) {
    viewer = await openViewer(browser, `${service.api}/view/keeper`, { acceptDownloads: true });
    await viewer.live();
    if (panel) await viewer.tool("files");
  }

  const choose = (...files) =>
    viewer.page.setInputFiles(
      ".panel input[type=file]",
      files.map(([name, buffer]) => ({ name, mimeType: "application/octet-stream", buffer })),
    );

  /** Waits until so many uploads are in a state, in words. */
  const uploads = (count, state) => until(`${count} uploads are ${state}`, async () => (await viewer.page.locator(".uploads .hint", { hasText: state }).count()) === count);

  /** The SHA-256 of a file of the home, as the API gives it. */
  async function kept(path) {
    const response = await fetch(`${service.api}/api/vm/keeper/files/${path.split("/").map(encodeURIComponent).join("/")}`);
    return response.ok ? digest(Buffer.from(await response.arrayBuffer())) : response.status;
  }

  async function download(name) {
    const started = viewer.page.waitForEvent("download");
    await viewer.page.getByRole("link", { name }).click();
    const saved = await started;
    return { name: saved.suggestedFilename(), bytes: await readFile(await saved.path()) };
  }

  it("puts several into the home and fetches them again, whatever they are called", async () => {
    const large = randomBytes(8 * MEBIBYTE);
    const odd = Buffer.from("naïve ✓\n");
    await open();
    await choose(["large.bin", large], ["Größe & 50 % #1?.txt", odd]);
    await uploads(2, "done");
    assert.equal(await kept("large.bin"), digest(large));
    assert.equal(await kept("Größe & 50 % #1?.txt"), digest(odd));
    const back = await download("Download large.bin");
    assert.equal(back.name, "large.bin");
    assert.equal(digest(back.bytes), digest(large));
    const other = await download("Download Größe & 50 % #1?.txt");
    assert.equal(digest(other.bytes), digest(odd));
    await viewer.screenshot("viewer-files");
    await viewer.assertClean();
  });

  it("takes what is dropped, and shows where it went", async () => {
    const bytes = randomBytes(1000);
    await open(false);
    await viewer.page.evaluate((content) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(content)], "dropped.bin"));
      const event = (name) => new DragEvent(name, { dataTransfer: transfer, bubbles: true, cancelable: true });
      document.querySelector(".screen").dispatchEvent(event("dragover"));
      document.querySelector(".screen").dispatchEvent(event("drop"));
    }, [...bytes]);
    await uploads(1, "done");
    await viewer.page.getByRole("link", { name: "Download dropped.bin" }).waitFor();
    assert.equal(await kept("dropped.bin"), digest(bytes));
    await viewer.assertClean();
  });

  it("asks before it replaces a file, and before it deletes one", async () => {
    const before = await kept("large.bin");
    const changed = randomBytes(500);
    await open();
    await choose(["large.bin", changed]);
    await viewer.page.getByRole("button", { name: "Cancel" }).click();
    assert.equal(await kept("large.bin"), before);
    await choose(["large.bin", changed]);
    await viewer.page.getByRole("button", { name: "Replace" }).click();
    await uploads(1, "done");
    assert.equal(await kept("large.bin"), digest(changed));
    await viewer.page.getByRole("button", { name: "Delete large.bin" }).click();
    await viewer.assertClean();
    await viewer.page.locator("dialog .danger").click();
    await viewer.page.getByRole("link", { name: "Download large.bin" }).waitFor({ state: "detached" });
    assert.equal(await kept("large.bin"), 404);
  });

  it("shows a large directory page by page, and knows what is behind the first page", async () => {
    const names = Array.from({ length: 620 }, (_, number) => `file ${String(number).padStart(3, "0")}`);
    for (const name of names) {
      const response = await fetch(`${service.api}/api/vm/keeper/files/many/${encodeURIComponent(name)}`, { method: "PUT", body: name });
      assert.equal(response.status, 201);
    }
    await open();
    const { page } = viewer;
    await page.getByRole("button", { name: "Open the directory many" }).click();
    const rows = page.locator(".entries li");
    await until("the first page is shown", async () => (await rows.count()) === 500);
    await choose(["file 619", Buffer.from("changed")]);
    await page.getByRole("button", { name: "Cancel" }).click();
    assert.equal(await kept("many/file 619"), digest(Buffer.from("file 619")));
    await page.getByRole("button", { name: "Show more" }).click();
    await until("all are shown", async () => (await rows.count()) === 620);
    assert.equal(await page.getByRole("button", { name: "Show more" }).count(), 0);
    await viewer.assertClean();
  });

  it("plays media from where somebody wants to hear them", async () => {
    // A minute of silence: 44.1 kHz, 16 bits, two channels.
    const rate = 44_100, seconds = 60, size = rate * seconds * 4;
    const wave = Buffer.alloc(44 + size);
    wave.write("RIFF");
    wave.writeUInt32LE(36 + size, 4);
    wave.write("WAVEfmt ", 8);
    [16, 0].forEach((value, index) => wave.writeUInt16LE(value, 16 + 2 * index));
    [1, 2].forEach((value, index) => wave.writeUInt16LE(value, 20 + 2 * index));
    wave.writeUInt32LE(rate, 24);
    wave.writeUInt32LE(rate * 4, 28);
    [4, 16].forEach((value, index) => wave.writeUInt16LE(value, 32 + 2 * index));
    wave.write("data", 36);
    wave.writeUInt32LE(size, 40);
    const address = `${service.api}/api/vm/keeper/files/silence.wav`;
    assert.equal((await fetch(address, { method: "PUT", body: wave })).status, 201);

    const page = await browser.newPage();
    await page.goto(`${service.api}/healthz`);
    const played = await page.evaluate(async (address) => {
      const audio = new Audio(address);
      const event = (name) => new Promise((resolve, reject) => {
        audio.addEventListener(name, resolve, { once: true });
        audio.addEventListener("error", () => reject(new Error(audio.error?.message)), { once: true });
      });
      audio.muted = true;
      await event("loadedmetadata");
      const sought = event("seeked");
      audio.currentTime = 50;
      await sought;
      const at = audio.currentTime;
      const later = new Promise((resolve) => audio.addEventListener("timeupdate", () => audio.currentTime > at && resolve()));
      await audio.play();
      await later;
      return { at, duration: audio.duration };
    }, address);
    assert.deepEqual(played, { at: 50, duration: 60 });
  });

  it("goes into directories, hides what begins with a dot, and fetches a directory as an archive", async () => {
    for (const name of ["Documents/notes.txt", ".hidden/x"]) {
      const response = await fetch(`${service.api}/api/vm/keeper/files/${name}`, { method: "PUT", body: name });
      assert.equal(response.status, 201);
    }
    await open();
    const { page } = viewer;
    await page.getByRole("button", { name: "Open the directory Documents" }).click();
    await page.getByRole("link", { name: "Download notes.txt" }).waitFor();
    await choose(["more.txt", Buffer.from("more")]);
    await uploads(1, "done");
    assert.equal(await kept("Documents/more.txt"), digest("more"));
    await page.getByRole("button", { name: "Home", exact: true }).click();
    const archive = await download("Download Documents as a tar archive");
    assert.equal(archive.name, "Documents.tar");
    assert.ok(archive.bytes.includes("Documents/notes.txt"), "the archive has no notes.txt");
    assert.equal(await page.getByRole("button", { name: "Open the directory .hidden" }).count(), 0);
    await page.getByLabel("Show hidden files").check();
    await page.getByRole("button", { name: "Open the directory .hidden" }).waitFor();
  });

  it("sends nothing of a file that is too large", async () => {
    await open();
    const sent = [];
    viewer.page.on("request", (request) => request.method() === "PUT" && sent.push(request.url()));
    await choose(["huge.bin", Buffer.alloc(17 * MEBIBYTE)]);
    await viewer.page.getByText("huge.bin is too large: a file may have 16 MiB at most.").waitFor();
    assert.deepEqual(sent, []);
    assert.equal(await kept("huge.bin"), 404);
    await viewer.assertClean();
  });

  it("cancels what is on its way, and leaves nothing of it", async () => {
    await open();
    await viewer.page.route("**/files/stuck.bin*", () => {});
    await choose(["stuck.bin", Buffer.alloc(MEBIBYTE)], ["after.bin", Buffer.from("after")]);
    await uploads(1, "done");
    await viewer.page.getByRole("button", { name: "Cancel the upload of stuck.bin" }).click();
    await uploads(1, "cancelled");
    assert.equal(await kept("stuck.bin"), 404);
    assert.equal(await kept("after.bin"), digest("after"));
  });
});
