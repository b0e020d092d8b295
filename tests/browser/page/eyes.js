// Eyes of a page that embeds noVNC: functions by which a test looks at what a person would see.

/** Looks at a canvas; one that has no size yet, as before the desktop has said its own, has nothing on it. */
export function eyesOn(canvas) {
  const pixels = () => {
    const { width, height } = canvas;
    return width && height ? canvas.getContext("2d").getImageData(0, 0, width, height).data : [];
  };
  const shareOf = (data, hits) => (data.length ? hits / (data.length / 4) : 0);
  return {
    size: () => ({ width: canvas.width, height: canvas.height }),
    pixel: (x, y) => [...canvas.getContext("2d").getImageData(x, y, 1, 1).data.slice(0, 3)],

    /** The share of the screen, 0 to 1, whose red, green and blue are each within `tolerance` of `colour`. */
    share(colour, tolerance) {
      const data = pixels();
      let hits = 0;
      for (let at = 0; at < data.length; at += 4) {
        if (colour.every((value, channel) => Math.abs(data[at + channel] - value) <= tolerance)) hits += 1;
      }
      return shareOf(data, hits);
    },

    /** How many different colours are on the screen, when each channel is cut to its upper 5 bits. */
    colours() {
      const data = pixels();
      const seen = new Set();
      for (let at = 0; at < data.length; at += 4) {
        seen.add(((data[at] >> 3) << 10) | ((data[at + 1] >> 3) << 5) | (data[at + 2] >> 3));
      }
      return seen.size;
    },

    /** The share of the screen that is a grey between `darkest` and `brightest`, 0 to 255. */
    greys(darkest, brightest) {
      const data = pixels();
      let hits = 0;
      for (let at = 0; at < data.length; at += 4) {
        const [red, green, blue] = data.subarray(at, at + 3);
        const low = Math.min(red, green, blue);
        const high = Math.max(red, green, blue);
        if (high - low <= 12 && low >= darkest && high <= brightest) hits += 1;
      }
      return shareOf(data, hits);
    },
  };
}
