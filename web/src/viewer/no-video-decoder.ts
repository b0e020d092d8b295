// noVNC tries an H.264 decoder before anything else, and everything waits for the outcome; on a busy machine without a GPU
// Chromium at times never answers. Without decoders noVNC does not ask. The desktops send no H.264, and servers elsewhere
// that can send other encodings as well.
Reflect.deleteProperty(globalThis, "VideoDecoder");

export {};
