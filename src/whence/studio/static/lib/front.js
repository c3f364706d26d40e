// Whether this page is the one last used, of all of the studio's that this browser has open. The others come for
// news now and then, and when they are told to look.

const pages = new BroadcastChannel("whence-front");
let isFront = false;

export const turns = new EventTarget(); // "look": there is reason to look for news now

function use() {
  if (isFront || document.hidden) return;
  isFront = true;
  pages.postMessage("front");
  turns.dispatchEvent(new Event("look"));
}

pages.onmessage = ({ data }) => {
  if (data === "front") isFront = false;
  else turns.dispatchEvent(new Event("look"));
};
for (const kind of ["focus", "keydown", "pointerdown", "pointermove"]) addEventListener(kind, use, { capture: true, passive: true });
document.addEventListener("visibilitychange", use);
use();

export function front() {
  return isFront;
}

export function tellOthers() {
  pages.postMessage("look");
}
