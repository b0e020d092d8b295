// The desktop's sound: WebM with Opus over a WebSocket, played by Media Source Extensions. Each socket starts with an
// initialisation segment; what follows are clusters, live.
import { delayBefore } from "./backoff.ts";
import { target, type Ranges } from "./playhead.ts";

const TYPE = 'audio/webm; codecs="opus"';
/** Milliseconds before the first attempt to listen again. */
const RETRY = 2000;
/** Seconds of what was played that are kept. */
const PAST = 10;

export type SoundState = "off" | "waiting" | "playing" | "unsupported";

type Source = typeof MediaSource;

/** Apple's phones have a variant only, which needs to be told that nothing else plays it. */
const source: Source | undefined =
  (globalThis as { ManagedMediaSource?: Source }).ManagedMediaSource ?? globalThis.MediaSource;

export class Sound {
  readonly #onState: (state: SoundState) => void;
  #address: string | undefined;
  #socket: WebSocket | undefined;
  #audio: HTMLAudioElement | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #attempt = 0;

  constructor(onState: (state: SoundState) => void) {
    this.#onState = onState;
  }

  /** Plays, from inside of a person's gesture: browsers let nothing be heard before one. */
  start(address: string): void {
    this.stop();
    if (!source?.isTypeSupported(TYPE)) return this.#onState("unsupported");
    this.#address = address;
    this.#attempt = 0;
    this.#open(source);
  }

  stop(): void {
    this.#address = undefined;
    this.#close();
    this.#onState("off");
  }

  #close(): void {
    clearTimeout(this.#timer);
    this.#socket?.close();
    this.#socket = undefined;
    if (this.#audio) {
      this.#audio.pause();
      URL.revokeObjectURL(this.#audio.src);
      this.#audio.removeAttribute("src");
    }
  }

  #open(Source: Source): void {
    if (this.#address === undefined) return;
    this.#onState("waiting");
    // One element for all sockets: the gesture that let it play counts for it alone.
    const audio = (this.#audio ??= new Audio());
    audio.disableRemotePlayback = true;
    const media = new Source();
    audio.src = URL.createObjectURL(media);
    void audio.play().catch(() => {
      // It is tried again with each part that arrives; what interrupts it is a new source.
    });

    const socket = new WebSocket(this.#address);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    const queue: ArrayBuffer[] = [];
    let buffer: SourceBuffer | undefined;

    const append = () => {
      if (this.#socket !== socket || !buffer || buffer.updating) return;
      const jump = target(rangesOf(buffer.buffered), audio.currentTime);
      if (jump !== undefined) audio.currentTime = jump;
      const start = buffer.buffered.length ? buffer.buffered.start(0) : 0;
      try {
        if (audio.currentTime - start > 2 * PAST) return buffer.remove(start, audio.currentTime - PAST);
        const part = queue.shift();
        if (part) buffer.appendBuffer(part);
      } catch {
        // What arrived is no WebM, or the source is broken: begin anew.
        socket.close();
      }
    };
    media.addEventListener("sourceopen", () => {
      if (this.#socket !== socket) return;
      buffer = media.addSourceBuffer(TYPE);
      buffer.addEventListener("updateend", append);
      append();
    });
    socket.addEventListener("message", ({ data }: MessageEvent<ArrayBuffer | string>) => {
      if (typeof data === "string" || this.#socket !== socket) return;
      this.#attempt = 0;
      this.#onState("playing");
      queue.push(data);
      append();
      if (audio.paused) void audio.play().catch(() => undefined);
    });
    socket.addEventListener("close", () => {
      if (this.#socket !== socket) return;
      this.#onState("waiting");
      this.#timer = setTimeout(() => {
        this.#close();
        this.#open(Source);
      }, delayBefore(this.#attempt++, RETRY));
    });
  }
}

function rangesOf(ranges: TimeRanges): Ranges {
  return Array.from({ length: ranges.length }, (_, index) => [ranges.start(index), ranges.end(index)]);
}
