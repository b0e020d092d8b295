// Plays a desktop's sound as the whiteboard that CoSage serves does: what comes is appended to Media Source
// Extensions, and playing jumps ahead when it is half a second behind. With ears: what a test can ask about it.
const BEHIND_MAX_SECONDS = 0.5;

/** Listens to a stream until it is closed, which `closed` is told. Only a page that a person has touched may sound. */
export async function listen(stream, closed = () => {}) {
  const state = { messages: 0, bytes: 0, jumps: 0, closed: null };
  const audio = new Audio();
  const source = new MediaSource();
  audio.src = URL.createObjectURL(source);
  await new Promise((resolve) => source.addEventListener("sourceopen", resolve, { once: true }));
  const buffer = source.addSourceBuffer('audio/webm; codecs="opus"');

  const context = new AudioContext();
  const analyser = new AnalyserNode(context, { fftSize: 8192 });
  context.createMediaElementSource(audio).connect(analyser).connect(context.destination);
  await context.resume();

  const waiting = [];
  const append = () => {
    if (waiting.length && !buffer.updating) buffer.appendBuffer(waiting.shift());
  };
  buffer.addEventListener("updateend", () => {
    if (buffer.buffered.length) {
      const end = buffer.buffered.end(buffer.buffered.length - 1);
      if (end - audio.currentTime > BEHIND_MAX_SECONDS) {
        audio.currentTime = end;
        state.jumps += 1;
      }
    }
    append();
  });
  const socket = new WebSocket(stream);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("message", ({ data }) => {
    state.messages += 1;
    state.bytes += data.byteLength;
    waiting.push(data);
    append();
  });
  socket.addEventListener("close", ({ code, reason }) => {
    state.closed = { code, reason };
    context.close();
    closed();
  });
  // It begins with what comes, which may be long in coming.
  audio.play().catch(() => {});

  const spectrum = new Float32Array(analyser.frequencyBinCount);
  return {
    state,
    played: () => audio.currentTime,
    error: () => audio.error?.message ?? null,
    decoded: () => audio.webkitAudioDecodedByteCount,
    /** The loudest frequency in Hz and how loud it is in dB of full scale. */
    loudest() {
      analyser.getFloatFrequencyData(spectrum);
      const bin = spectrum.indexOf(Math.max(...spectrum));
      return { hertz: (bin * context.sampleRate) / analyser.fftSize, decibels: spectrum[bin] };
    },
  };
}
