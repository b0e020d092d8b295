// noVNC for screens that have several pixels for one of CSS.
import RFB from "@novnc/novnc";

/** How much of a pixel a window's size may miss by rounding in the browser's layout, which counts in 64ths of a CSS pixel. */
const ROUNDING = 0.25;

/** How many pixels of the screen a box of CSS pixels has, where one of CSS is `ratio` of the screen's along a side; `ratio` is at least 1. */
export function screenPixels(width: number, height: number, ratio: number): { w: number; h: number } {
  if (ratio === 1) return { w: width, h: height };
  return { w: Math.floor(width * ratio + ROUNDING), h: Math.floor(height * ratio + ROUNDING) };
}

/**
 * noVNC takes a desktop's pixels for CSS pixels. This one takes them for pixels of the screen: it asks for as many as the window has, and shows
 * each as one. The methods that it overrides are not part of noVNC's documented interface, whose version is therefore
 * an exact one.
 */
export class NativeRfb extends RFB {
  #ratio = 1;
  /** The size that was asked for last, and the ratio at that time. */
  #asked = { w: 0, h: 0, ratio: 1 };

  /** Called when the desktop does not take a size in the screen's own pixels, with the number of these pixels. */
  onRefused: (pixels: number) => void = () => undefined;

  /** Pixels of the screen for one of CSS, along a side; at least 1. */
  set pixelRatio(ratio: number) {
    if (ratio === this.#ratio) return;
    this.#ratio = ratio;
    this._updateClip();
    this._updateScale();
    this._requestRemoteResize();
  }

  protected override _screenSize(): { w: number; h: number } {
    const { w, h } = super._screenSize();
    return screenPixels(w, h, this.#ratio);
  }

  protected override _requestRemoteResize(): void {
    const wasPending = this._pendingRemoteResize;
    super._requestRemoteResize();
    if (this._pendingRemoteResize && !wasPending) this.#asked = { ...this._screenSize(), ratio: this.#ratio };
  }

  protected override _updateScale(): void {
    super._updateScale();
    this._display.scale /= this.#ratio;
  }

  protected override _updateCursor(rgba: Uint8Array<ArrayBuffer>, hotX: number, hotY: number, w: number, h: number): void {
    if (this.#ratio === 1 || w === 0 || h === 0) return super._updateCursor(rgba, hotX, hotY, w, h);
    // A cursor of CSS has CSS pixels in every browser.
    const width = Math.max(1, Math.round(w / this.#ratio));
    const height = Math.max(1, Math.round(h / this.#ratio));
    const small = shrunk(new ImageData(new Uint8ClampedArray(rgba), w, h), width, height);
    super._updateCursor(small, Math.floor(hotX / this.#ratio), Math.floor(hotY / this.#ratio), width, height);
  }

  protected override _handleExtendedDesktopSize(): boolean {
    const handled = super._handleExtendedDesktopSize();
    // Why, and with which outcome (rfbproto, "ExtendedDesktopSize Pseudo-Encoding"): 1 is this client's request, 0 is done.
    const { x: reason, y: status } = this._FBU;
    if (handled && reason === 1 && status !== 0) this.#onRefused();
    return handled;
  }

  #onRefused(): void {
    const { w, h, ratio } = this.#asked;
    if (ratio > 1) this.onRefused(w * h);
    // Whether the window changed meanwhile, noVNC looks only after a size that was taken.
    const now = this._screenSize();
    if (now.w !== w || now.h !== h) this._requestRemoteResize();
  }
}

function shrunk(image: ImageData, width: number, height: number): Uint8Array<ArrayBuffer> {
  const whole = new OffscreenCanvas(image.width, image.height);
  whole.getContext("2d")?.putImageData(image, 0, 0);
  const small = new OffscreenCanvas(width, height).getContext("2d");
  if (!small) return new Uint8Array(4 * width * height);
  small.imageSmoothingQuality = "high";
  small.drawImage(whole, 0, 0, width, height);
  return new Uint8Array(small.getImageData(0, 0, width, height).data);
}
