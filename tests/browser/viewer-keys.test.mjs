// The viewer's keyboard: what is sent for shortcuts on layouts without Latin letters and on a Mac, and whose keys are whose.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";

import { closePages, startBrowser } from "../support/browser.mjs";
import { startService } from "../support/service.mjs";
import { colourOf, openViewer } from "../support/viewer.mjs";

/** Remembers every key that the page sends (RFC 6143, 7.5.4, and QEMU's extended key event), as `+c` and `-c`, and `text` for a clipboard's. */
function rememberKeys() {
  const names = {
    0x6d3: "с",
    0xff7e: "Mode_switch",
    0xffe1: "Shift_L",
    0xffe3: "Control_L",
    0xffe4: "Control_R",
    0xffe9: "Alt_L",
  };
  const name = (keysym) => names[keysym] ?? String.fromCodePoint(keysym >= 0x01000000 ? keysym - 0x01000000 : keysym);
  globalThis.sent = [];
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function (data) {
    const bytes = new DataView(data.buffer ?? data, data.byteOffset ?? 0, data.byteLength);
    const type = bytes.getUint8(0);
    if (type === 4) globalThis.sent.push((bytes.getUint8(1) ? "+" : "-") + name(bytes.getUint32(4)));
    if (type === 255 && bytes.getUint8(1) === 0) globalThis.sent.push((bytes.getUint16(2) ? "+" : "-") + name(bytes.getUint32(4)));
    // The capabilities of the extended clipboard are no text (rfbproto, "Extended Clipboard Pseudo-Encoding").
    if (type === 6 && !(bytes.getInt32(4) < 0 && bytes.getUint32(8) & (1 << 24))) globalThis.sent.push("text");
    return send.call(this, data);
  };
}

const onMac = () => Object.defineProperty(Navigator.prototype, "platform", { get: () => "MacIntel" });

/** Modifiers of the DevTools protocol's key events. */
const ALT = 1;
const CTRL = 2;
const META = 4;
const SHIFT = 8;

describe("the viewer's keyboard", () => {
  let service, browser;

  before(async () => {
    browser = await startBrowser();
    service = await startService("keys");
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    await service?.stop();
  });

  /** A viewer of a running desktop whose page has run these scripts first, and the ends of its keyboard. */
  async function open(uid, { scripts = [], ...context } = {}) {
    await service.open(uid, { vm: "tiny" });
    const prepared = async (options) => {
      const opened = await browser.newContext(options);
      for (const script of [rememberKeys, ...scripts]) await opened.addInitScript(script);
      return opened;
    };
    const viewer = await openViewer({ newContext: prepared }, `${service.api}/view/${uid}`, context);
    await viewer.live();
    await viewer.painted();
    await viewer.focused();
    const devtools = await viewer.page.context().newCDPSession(viewer.page);
    const event = (type, key, code, modifiers = 0, more = {}) =>
      devtools.send("Input.dispatchKeyEvent", { type, key, code, modifiers, ...more });
    const down = (...key) => event("rawKeyDown", ...key);
    const up = (...key) => event("keyUp", ...key);
    const stroke = async (...key) => {
      await down(...key);
      await up(...key);
    };
    /** Waits until exactly these were sent since the last time. */
    const sent = async (...expected) => {
      await viewer.until(`sent: ${expected}`, (count) => globalThis.sent.length >= count, expected.length);
      assert.deepEqual(await viewer.page.evaluate(() => globalThis.sent.splice(0)), expected);
    };
    return { viewer, down, up, stroke, sent };
  }

  it("sends the Latin letter of a key with Ctrl or Alt, and the layout's letter without", async () => {
    const { viewer, down, up, stroke, sent } = await open("layout");
    await stroke("с", "KeyC");
    await sent("+с", "-с");
    await down("Control", "ControlLeft", CTRL, { location: 1 });
    await stroke("с", "KeyC", CTRL, { windowsVirtualKeyCode: 67 });
    await sent("+Control_L", "+c", "-c");
    await viewer.middle(colourOf(0x63));
    // A sign on a key for a letter, as of a Hebrew layout, on a system that does not tell by the key's code.
    await stroke("'", "KeyW", CTRL, { windowsVirtualKeyCode: 222 });
    await down("Shift", "ShiftLeft", CTRL | SHIFT, { location: 1 });
    await stroke("Е", "KeyT", CTRL | SHIFT);
    await up("Shift", "ShiftLeft", CTRL, { location: 1 });
    await up("Control", "ControlLeft", 0, { location: 1 });
    await sent("+w", "-w", "+Shift_L", "+T", "-T", "-Shift_L", "-Control_L");
    await down("Alt", "AltLeft", ALT, { location: 1 });
    await stroke("а", "KeyF", ALT);
    await up("Alt", "AltLeft", 0, { location: 1 });
    await sent("+Alt_L", "+f", "-f", "-Alt_L");
    // A Latin layout of another order keeps its letters.
    await stroke("a", "KeyQ");
    await down("Control", "ControlLeft", CTRL, { location: 1 });
    await stroke("a", "KeyQ", CTRL, { windowsVirtualKeyCode: 65 });
    await stroke(",", "KeyM", CTRL, { windowsVirtualKeyCode: 188 });
    await up("Control", "ControlLeft", 0, { location: 1 });
    await sent("+a", "-a", "+Control_L", "+a", "-a", "+,", "-,", "-Control_L");
  });

  it("pastes by the key of V on a layout without Latin letters", async () => {
    const permissions = ["clipboard-write"];
    const { viewer, down, stroke, sent } = await open("paste", { permissions });
    await viewer.page.evaluate(() => navigator.clipboard.writeText("by keys"));
    await down("Control", "ControlLeft", CTRL, { location: 1 });
    await stroke("м", "KeyV", CTRL, { windowsVirtualKeyCode: 86, commands: ["paste"] });
    await sent("+Control_L", "text", "+v", "-v");
  });

  it("says that a text is too long to paste, and pastes nothing else in its stead", async () => {
    const { viewer, down, up, sent } = await open("long", { permissions: ["clipboard-write"] });
    const complaint = viewer.page.getByText("The text is too long to paste: it has 17 MiB, and 16 MiB is the most.");
    const paste = async (length) => {
      await viewer.page.evaluate((length) => navigator.clipboard.writeText("x".repeat(length)), length);
      await down("Control", "ControlLeft", CTRL, { location: 1 });
      await down("v", "KeyV", CTRL, { windowsVirtualKeyCode: 86, commands: ["paste"] });
      await up("v", "KeyV", CTRL, { windowsVirtualKeyCode: 86 });
      await up("Control", "ControlLeft", 0, { location: 1 });
    };
    await paste(17 * 1024 * 1024);
    await complaint.waitFor();
    await sent("+Control_L", "-Control_L");
    await viewer.assertClean();
    await viewer.screenshot("viewer-paste-long");
    await complaint.locator("..").getByRole("button", { name: "Close" }).click();
    await viewer.page.locator(".screen canvas").focus();
    await paste(16 * 1024 * 1024 - 1);
    await sent("+Control_L", "text", "+v", "-v", "-Control_L");
  });

  it("has a Mac's Command as Ctrl, whichever of both, until it is switched off", async () => {
    const { viewer, down, up, stroke, sent } = await open("mac", { scripts: [onMac], permissions: ["clipboard-write"] });
    // macOS tells no release of a letter as long as Command is held.
    await down("Meta", "MetaLeft", META, { location: 1 });
    await down("c", "KeyC", META);
    await down("z", "KeyZ", META);
    await down("z", "KeyZ", META, { autoRepeat: true });
    await up("Meta", "MetaLeft", 0, { location: 1 });
    await sent("+Control_L", "+c", "-c", "+z", "-z", "+z", "-z", "-Control_L");
    await viewer.middle(colourOf(0x7a));
    await down("Meta", "MetaRight", META, { location: 2 });
    await down("f", "KeyF", META);
    await up("Meta", "MetaRight", 0, { location: 2 });
    await sent("+Control_R", "+f", "-f", "-Control_R");
    // Shift that comes after Command stays down for the letter: macOS tells its release.
    await down("Meta", "MetaLeft", META, { location: 1 });
    await down("Shift", "ShiftLeft", META | SHIFT, { location: 1 });
    await down("z", "KeyZ", META | SHIFT);
    await up("Shift", "ShiftLeft", META, { location: 1 });
    await up("Meta", "MetaLeft", 0, { location: 1 });
    await sent("+Control_L", "+Shift_L", "+z", "-z", "-Shift_L", "-Control_L");
    // Command and Tab go to another window, and the release of Command with them.
    await down("Meta", "MetaLeft", META, { location: 1 });
    await viewer.page.evaluate(() => dispatchEvent(new Event("blur")));
    await sent("+Control_L", "-Control_L");
    await up("Meta", "MetaLeft", 0, { location: 1 });

    await viewer.page.evaluate(() => navigator.clipboard.writeText("by keys"));
    await down("Meta", "MetaLeft", META, { location: 1 });
    await down("v", "KeyV", META, { commands: ["paste"] });
    await up("Meta", "MetaLeft", 0, { location: 1 });
    await sent("+Control_L", "text", "+v", "-v", "-Control_L");
    // Option writes characters, and Ctrl is Ctrl.
    await down("Alt", "AltLeft", ALT, { location: 1 });
    await stroke("@", "KeyL", ALT);
    await up("Alt", "AltLeft", 0, { location: 1 });
    await sent("+Mode_switch", "+@", "-@", "-Mode_switch");
    await down("Control", "ControlLeft", CTRL, { location: 1 });
    await stroke("v", "KeyV", CTRL);
    await up("Control", "ControlLeft", 0, { location: 1 });
    await sent("+Control_L", "+v", "-v", "-Control_L");

    await viewer.tool("keys");
    const choice = viewer.page.getByLabel("Use ⌘ as the desktop's Ctrl");
    assert.ok(await choice.isChecked());
    await viewer.assertClean();
    await viewer.screenshot("viewer-keys-mac");
    await choice.uncheck();
    await viewer.page.reload();
    await viewer.live();
    await viewer.focused();
    await down("Meta", "MetaLeft", META, { location: 1 });
    await down("c", "KeyC", META);
    await up("Meta", "MetaLeft", 0, { location: 1 });
    await sent("+Alt_L", "+c", "-c", "-Alt_L");
    await viewer.tool("keys");
    assert.ok(!(await choice.isChecked()));
    await viewer.assertClean();
  });

  it("has no such choice where there is no Command key", async () => {
    const { viewer } = await open("elsewhere");
    await viewer.tool("keys");
    await viewer.page.waitForSelector("#keys-text");
    assert.equal(await viewer.page.getByText("⌘").count(), 0);
  });

  it("gives the toolbar the keys that follow its chord at once, also when it is out of sight", async () => {
    const { viewer, down, up, sent } = await open("chord");
    await viewer.page.waitForSelector('.dock[data-shown="false"]', { state: "attached" });
    await viewer.page.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished)));
    // All under way before the page has heard of the first.
    await Promise.all([
      down("Control", "ControlLeft", CTRL, { location: 1 }),
      down("Alt", "AltLeft", CTRL | ALT, { location: 1 }),
      down("Shift", "ShiftLeft", CTRL | ALT | SHIFT, { location: 1 }),
      up("Shift", "ShiftLeft", CTRL | ALT, { location: 1 }),
      up("Alt", "AltLeft", CTRL, { location: 1 }),
      up("Control", "ControlLeft", 0, { location: 1 }),
      ...["End", "ArrowLeft", "ArrowRight"].flatMap((key) => [down(key, key), up(key, key)]),
      down("Enter", "Enter", 0, { windowsVirtualKeyCode: 13, type: "keyDown", text: "\r" }),
      up("Enter", "Enter", 0, { windowsVirtualKeyCode: 13 }),
      down("Escape", "Escape", 0, { windowsVirtualKeyCode: 27 }),
      up("Escape", "Escape", 0, { windowsVirtualKeyCode: 27 }),
    ]);
    // The dialog of the last tool was there, and the last key was for it.
    await viewer.until("the tool has the focus again", () => document.activeElement?.id === "tool-stop");
    assert.equal(await viewer.page.locator("dialog[open]").count(), 0);
    await sent("+Control_L", "+Alt_L", "-Control_L", "-Alt_L");
    await viewer.page.keyboard.press("Escape");
    await viewer.focused();
    await viewer.page.keyboard.press("b");
    await viewer.middle(colourOf(0x62));
    await viewer.assertClean();
  });
});
