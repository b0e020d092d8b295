// The smallest page that embeds noVNC, with eyes.
import { eyesOn } from "./eyes.js";
import RFB from "/novnc/core/rfb.js";

const rfb = new RFB(document.getElementById("screen"), new URLSearchParams(location.search).get("stream"), {
  shared: true,
});
// As the whiteboard that CoSage serves sets them.
rfb.resizeSession = true;
rfb.qualityLevel = 2;
rfb.compressionLevel = 8;

const events = [];
for (const name of ["connect", "disconnect", "securityfailure", "credentialsrequired", "clipboard"]) {
  rfb.addEventListener(name, ({ detail }) => events.push({ name, ...detail }));
}

window.viewer = { rfb, events, ...eyesOn(document.querySelector("#screen canvas")) };
