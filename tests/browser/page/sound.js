import { listen } from "./player.js";

// Browsers let a page sound once a person has touched it.
document.querySelector("button").addEventListener("click", async () => {
  window.sound = await listen(new URLSearchParams(location.search).get("stream"));
});
