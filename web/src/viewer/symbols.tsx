// The toolbar's symbols: 24 by 24, drawn with one line, as the console's others.

const paths = {
  display: "M3.5 5h17v11h-17zM9 20h6M9 8.5H7v2M15 12.5h2v-2",
  clipboard: "M9 5H6v15h12V5h-3M9 3.5h6V7H9zM9 11.5h6M9 15h6",
  keys: "M3 6.5h18v11H3zM6.5 10h.01M10 10h.01M13.5 10h.01M17 10h.01M8 14h8",
  touch: "M3 4.5h18v9H3zM7 8h.01M12 8h.01M17 8h.01M8.5 10.5h7M9 18l3 3 3-3",
  files: "M3.5 6.5h6l2 2.5h9v10h-17z",
  file: "M6 3.5h8l4 4v13H6zM14 3.5v4h4",
  link: "M10 14 20 4M14 4h6v6M18 13.5V20H4V6h6.5",
  sound: "M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM15.5 9a4.5 4.5 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11",
  silent: "M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM16 9.5l5 5M21 9.5l-5 5",
  picture: "M4 7.5h3.5l1.5-2.5h6l1.5 2.5H20v11.5H4zM12 16.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z",
  fullscreen: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  window: "M9 4v5H4M20 9h-5V4M15 20v-5h5M4 15h5v5",
  share: "M9 12a3 3 0 1 1-6 0 3 3 0 0 1 6 0zM21 5.5a3 3 0 1 1-6 0 3 3 0 0 1 6 0zM21 18.5a3 3 0 1 1-6 0 3 3 0 0 1 6 0zM8.7 10.5l6.6-3.5M8.7 13.5l6.6 3.5",
  stop: "M12 3.5V12M7 6.5a7.5 7.5 0 1 0 10 0",
  apps: "M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h6v6h-6z",
  upload: "M12 16V4.5M7.5 9 12 4.5 16.5 9M4.5 15v4.5h15V15",
  download: "M12 4.5V16M7.5 11.5 12 16l4.5-4.5M4.5 15v4.5h15V15",
  grip: "M8 12h8",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6z",
} as const;

export type SymbolName = keyof typeof paths;

/** A symbol beside a text or a label. */
export const Symbol = ({ name }: { name: SymbolName }) => (
  <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
    <path d={paths[name]} />
  </svg>
);
