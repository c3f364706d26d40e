// A picture with moments: it plays, pauses and goes step by step. Nothing moves before it is asked
// to; where the reader wants less motion, a moment takes the place of the last without gliding.

import { button, h, put } from "./dom.js";

const LASTS = 900; // ms that a moment is seen for while it plays

// The library's own drawing, as nodes, without what could run or restyle the page.
export function drawing(text) {
  const plain = text.replace(/<style[\s\S]*?<\/style>/g, "").replace(/ style="[^"]*"/g, "");
  const parsed = new DOMParser().parseFromString(plain, "image/svg+xml").documentElement;
  for (const node of [...parsed.querySelectorAll("style, script, foreignObject")]) node.remove();
  for (const node of [parsed, ...parsed.querySelectorAll("*")]) for (const { name } of [...node.attributes]) if (/^on|^style$|href$/i.test(name)) node.removeAttribute(name);
  for (const curve of parsed.querySelectorAll("path.curve, polyline.curve")) curve.setAttribute("pathLength", "1");
  return document.importNode(parsed, true);
}

// `frames` are { svg, told }: what stands in the drawing's `g.moves` at each moment, and its words.
export function film(svg, frames) {
  const moments = frames.map((frame) => drawing(`<svg xmlns="http://www.w3.org/2000/svg">${frame.svg}</svg>`).firstElementChild);
  const last = frames.length - 1;
  let now = 0;
  let timer = null;
  const play = button("Play", () => (timer ? stop() : start()), { class: "primary" });
  const back = button("Step back", () => (stop(), show(now - 1)));
  const forth = button("Step", () => (stop(), show(now + 1)));
  const told = h("p", { class: "film-told", role: "status" });
  const place = h("input", { type: "range", min: 0, max: last, step: 1, "aria-label": "Frame", oninput: () => (stop(), show(Number(place.value))) });
  const count = h("span", { class: "quiet number" });
  const node = h("div", { class: "film" }, told, h("div", { class: "row", role: "group", "aria-label": "Frames of the picture" }, play, back, forth, place, count));

  function start() {
    if (now === last) show(0);
    timer = setInterval(() => (node.isConnected && now < last ? show(now + 1) : stop()), LASTS);
    label();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    label();
  }

  function label() {
    play.textContent = timer ? "Pause" : "Play";
    node.dataset.state = timer ? "playing" : "paused";
    told.setAttribute("aria-live", timer ? "off" : "polite"); // what plays isn't read out
  }

  function show(k) {
    now = Math.max(0, Math.min(last, k));
    become(svg.querySelector(".moves"), moments[now].cloneNode(true));
    put(told, frames[now].told);
    place.value = now;
    place.setAttribute("aria-valuetext", frames[now].told);
    count.textContent = `${now + 1} of ${last + 1}`;
    node.dataset.moment = now;
    back.disabled = now === 0;
    forth.disabled = now === last;
    if (now === last) stop();
  }

  show(0);
  stop();
  return node;
}

// Make a node like another of its kind: what stays in place keeps its node, and so can glide.
function become(old, next) {
  if (old.nodeName !== next.nodeName) return old.replaceWith(next);
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (!next.children.length && old.textContent !== next.textContent) old.textContent = next.textContent;
  const [mine, theirs] = [[...old.children], [...next.children]];
  theirs.forEach((child, i) => (mine[i] ? become(mine[i], child) : old.append(child)));
  for (const child of mine.slice(theirs.length)) child.remove();
}
