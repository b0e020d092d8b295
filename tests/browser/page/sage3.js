// What SAGE3's client does, and as little of what it does not: it reads no status, tries no screen a second time, and
// knows one address for calls and streams. With eyes and ears.
import { eyesOn } from "./eyes.js";
import RFB from "/novnc/core/rfb.js";
import { listen } from "./player.js";

const AUDIO_PAUSE_MS = 2000;

const server = new URLSearchParams(location.search).get("server");
const screen = document.getElementById("screen");
let shown = null;

/** A call and its JSON, whatever its status is. A GET says the type of the body that it does not have, too. */
async function call(method, path, body) {
  const headers = { "Content-Type": "application/json" };
  const response = await fetch(server + path, { method, headers, body: body && JSON.stringify(body) });
  return response.json();
}

/** Shows a desktop, once and for all: when its socket closes, its picture is gone. */
function show(url) {
  shown = url;
  const rfb = new RFB(screen, new WebSocket(`${server}${url}/vnc`), { shared: true });
  rfb.resizeSession = true;
  rfb.qualityLevel = 2;
  rfb.compressionLevel = 8;
  const events = [];
  for (const name of ["connect", "disconnect", "securityfailure", "credentialsrequired"]) {
    rfb.addEventListener(name, ({ detail }) => events.push({ name, ...detail }));
  }
  window.viewer = { rfb, events, ...eyesOn(screen.querySelector("canvas")) };
}

async function hear() {
  window.sage3.listens += 1;
  window.sound = await listen(`${server}${shown}/audio`, () => setTimeout(hear, AUDIO_PAUSE_MS));
}

document.querySelector("button").addEventListener("click", hear, { once: true });

window.sage3 = {
  /** How many times it has asked for the sound. */
  listens: 0,
  call,

  /** Asks for a desktop and shows it: what the owner does first, and everybody whose page has it. */
  async mount(uid, vm, env) {
    const answer = await call("POST", `/api/vm/any/${uid}`, { vm, env });
    if (answer.url) show(answer.url);
    return answer;
  },

  /** Shows a desktop if it is there: what a guest does. */
  async join(uid) {
    const answer = await call("GET", `/api/vm/ws/${uid}`);
    if (answer.url) show(answer.url);
    return answer;
  },
};
