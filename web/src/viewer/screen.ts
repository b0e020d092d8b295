// The desktop's picture: one noVNC at a time, and what is left of the last one while there is none.
import "./no-video-decoder.ts";
import type RFB from "@novnc/novnc";
import type { Credentials } from "@novnc/novnc";

import { NativeRfb } from "./native-rfb.ts";
import type { ResizeMode } from "./query.ts";

/** How the picture is shown and sent, and whether input goes the other way. */
export interface Look {
  resize: ResizeMode;
  /** Pixels of the desktop for one of CSS, along a side, where the desktop has the window's size; at least 1. */
  pixelRatio: number;
  /** Whether dragging moves a picture that is larger than the window. */
  panning: boolean;
  quality: number;
  compression: number;
  viewOnly: boolean;
  showDot: boolean;
}

export interface ScreenListener {
  onOpened(): void;
  onConnected(): void;
  onClosed(code: number, reason: string): void;
  /** The whole picture is there for the first time since it was connected. */
  onPicture(): void;
  onClipboard(text: string): void;
  onBell(): void;
  /** Whether the picture is larger than what is seen of it. */
  onClipped(clipped: boolean): void;
  /** The desktop does not take the window's size in the screen's own pixels, of which there are so many. */
  onSizeRefused(pixels: number): void;
  onCredentials(types: (keyof Credentials)[]): void;
  /** A server elsewhere shows its key; it is `screen.approve` that goes on. */
  onServerKey(key: Uint8Array<ArrayBuffer>): void;
  onSecurityFailure(reason: string): void;
}

/** A connection that ended without a close frame (RFC 6455, 7.1.5). */
const ABNORMAL = 1006;

/** Places along each side of the picture that have to be painted until it counts as whole. */
const SAMPLES = 8;

export class Screen {
  readonly #target: Element;
  readonly #last: HTMLCanvasElement;
  readonly #listener: ScreenListener;
  #look: Look;
  #rfb: NativeRfb | undefined;
  #credentials: Credentials = {};

  /** `target` is where noVNC works, `last` shows the last picture. */
  constructor(target: Element, last: HTMLCanvasElement, look: Look, listener: ScreenListener) {
    this.#target = target;
    this.#last = last;
    this.#look = look;
    this.#listener = listener;
  }

  connect(address: string, shared: boolean): void {
    const socket = new WebSocket(address);
    // Before noVNC's own, so that the reason is known when noVNC says that it is over.
    let ending = { code: ABNORMAL, reason: "" };
    socket.addEventListener("close", ({ code, reason }) => (ending = { code, reason }));
    socket.addEventListener("open", () => this.#listener.onOpened());

    const rfb = new NativeRfb(this.#target, socket, { shared, credentials: this.#credentials });
    this.#rfb = rfb;
    rfb.background = "transparent";
    rfb.onRefused = (pixels) => this.#listener.onSizeRefused(pixels);
    this.#apply(rfb);
    let connected = false;
    rfb.addEventListener("connect", () => {
      connected = true;
      this.#listener.onConnected();
      this.#awaitPicture(rfb);
    });
    rfb.addEventListener("disconnect", () => {
      if (connected) this.#keep(rfb);
      if (this.#rfb === rfb) this.#rfb = undefined;
      this.#listener.onClosed(ending.code, ending.reason);
    });
    rfb.addEventListener("clipboard", ({ detail }) => this.#listener.onClipboard(detail.text));
    rfb.addEventListener("bell", () => this.#listener.onBell());
    rfb.addEventListener("clippingviewport", ({ detail }) => this.#listener.onClipped(detail));
    rfb.addEventListener("credentialsrequired", ({ detail }) => this.#listener.onCredentials(detail.types));
    rfb.addEventListener("serververification", ({ detail }) =>
      this.#listener.onServerKey(detail.publickey ?? new Uint8Array()),
    );
    rfb.addEventListener("securityfailure", ({ detail }) => {
      this.#credentials = {};
      this.#listener.onSecurityFailure(detail.reason ?? "");
    });
  }

  disconnect(): void {
    this.#rfb?.disconnect();
  }

  show(look: Look): void {
    this.#look = look;
    if (this.#rfb) this.#apply(this.#rfb);
  }

  #apply(rfb: NativeRfb): void {
    const { resize, pixelRatio, panning, quality, compression, viewOnly, showDot } = this.#look;
    rfb.viewOnly = viewOnly;
    rfb.qualityLevel = quality;
    rfb.compressionLevel = compression;
    rfb.showDotCursor = showDot;
    rfb.pixelRatio = pixelRatio;
    rfb.resizeSession = resize === "remote";
    // A desktop that is to have the window's size has another one as long as it cannot or somebody else wants that.
    rfb.scaleViewport = resize !== "off";
    // Without clipping there are scroll bars, which fingers cannot use: touches go to the desktop.
    rfb.clipViewport = resize === "off" && (panning || matchMedia("(pointer: coarse)").matches);
    rfb.dragViewport = rfb.clipViewport && panning;
  }

  answer(credentials: Credentials): void {
    this.#credentials = credentials;
    this.#rfb?.sendCredentials(credentials);
  }

  approve(): void {
    this.#rfb?.approveServer();
  }

  focus(): void {
    this.#rfb?.focus({ preventScroll: true });
  }

  /** Presses and releases a key; with `down` only one of both. */
  key(keysym: number, down?: boolean): void {
    this.#rfb?.sendKey(keysym, null, down);
  }

  paste(text: string): void {
    this.#rfb?.clipboardPasteFrom(text);
  }

  /** The picture as PNG, in its own size; `null` while there is none. */
  picture(): Promise<Blob | null> {
    const rfb = this.#rfb;
    return rfb ? new Promise((resolve) => rfb.toBlob(resolve, "image/png")) : Promise.resolve(null);
  }

  /** Shows an earlier picture, unless there is one of this page's own. */
  async recall(address: string): Promise<void> {
    const image = new Image();
    image.src = address;
    await image.decode();
    if (this.#last.width > 0) return;
    this.#last.width = image.naturalWidth;
    this.#last.height = image.naturalHeight;
    this.#last.getContext("2d")?.drawImage(image, 0, 0);
  }

  #keep(rfb: RFB): void {
    const picture = rfb.getImageData();
    this.#last.width = picture.width;
    this.#last.height = picture.height;
    this.#last.getContext("2d")?.putImageData(picture, 0, 0);
  }

  /** noVNC does not say when the first picture is whole: what is not painted yet is transparent. */
  #awaitPicture(rfb: RFB): void {
    const samples = new OffscreenCanvas(SAMPLES, SAMPLES).getContext("2d", { willReadFrequently: true });
    const look = () => {
      if (this.#rfb !== rfb) return;
      const canvas = this.#target.querySelector("canvas");
      if (canvas && samples && canvas.width > 0 && canvas.height > 0) {
        samples.clearRect(0, 0, SAMPLES, SAMPLES);
        samples.imageSmoothingEnabled = false;
        samples.drawImage(canvas, 0, 0, SAMPLES, SAMPLES);
        const { data } = samples.getImageData(0, 0, SAMPLES, SAMPLES);
        const whole = data.every((value, index) => index % 4 !== 3 || value === 255);
        if (whole) return this.#listener.onPicture();
      }
      requestAnimationFrame(look);
    };
    look();
  }
}
