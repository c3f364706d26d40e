// What a network with one input answers: the samples, its curve, and the best line where it is known.

import { h, put, s } from "./dom.js";
import { full, short } from "./number.js";

const [WIDTH, HEIGHT, LEFT, BOTTOM] = [420, 330, 46, 28];

// Returns { node, update(picture, followed) }.
export function fit() {
  const svg = s("svg", { class: "fit", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  const said = h("p", { class: "quiet plane-said" });
  const node = h("div", {}, svg, said);

  function update(picture, followed) {
    const [xs, ys, at, answer] = [picture.x.data, picture.y.data, picture.at.data, picture.answer.data];
    const closed = picture.closed?.data;
    const fine = [...answer].filter(Number.isFinite);
    const [low, high] = [Math.min(0, ...ys), Math.max(...ys)];
    const room = (high - low) * 0.18;
    const bottom = Math.max(low - room, Math.min(low, ...fine));
    const top = Math.min(high + 3 * room, Math.max(high + room * 0.6, ...fine));
    const [left, right] = [at[0], at[at.length - 1]];
    const x = (v) => LEFT + ((v - left) / (right - left)) * (WIDTH - LEFT - 12);
    const y = (v) => 12 + (1 - (v - bottom) / (top - bottom)) * (HEIGHT - BOTTOM - 12);
    const inside = (v) => Math.max(-HEIGHT, Math.min(2 * HEIGHT, y(v)));
    const path = (values) => [...values].map((v, i) => (Number.isFinite(v) ? `${i ? "L" : "M"}${x(at[i]).toFixed(1)} ${inside(v).toFixed(1)}` : "")).join("");
    const near = (v) => answer[Math.max(0, Math.min(at.length - 1, Math.round(((v - left) / (right - left)) * (at.length - 1))))];
    put(
      svg,
      s("g", { class: "axes" }, ticks(bottom, top).map((v) => [s("line", { x1: LEFT, x2: WIDTH - 12, y1: y(v), y2: y(v) }), s("text", { x: LEFT - 6, y: y(v), dy: "0.32em", "text-anchor": "end" }, short(v))]), ticks(left, right).map((v) => s("text", { x: x(v), y: HEIGHT - 8, "text-anchor": "middle" }, short(v)))),
      [...xs].map((v, i) => (Number.isFinite(near(v)) ? s("line", { class: "error", x1: x(v), x2: x(v), y1: y(ys[i]), y2: inside(near(v)) }) : null)),
      closed ? s("path", { class: "line", d: path(closed), style: { stroke: "var(--second)", "stroke-dasharray": "5 4", "stroke-width": 1.5 } }) : null,
      s("path", { class: "line", d: path(answer), style: { stroke: "var(--accent)", "stroke-width": 2.5 } }),
      [...xs].map((v, i) => s("circle", { cx: x(v), cy: y(ys[i]), r: i === followed ? 7 : 4.5, class: i === followed ? "sample followed" : "sample" }, s("title", {}, `x ${full(v)}, y ${full(ys[i])}`))),
    );
    svg.setAttribute("aria-label", `The prediction for each input, and ${xs.length} samples; the table has their numbers`);
    said.textContent = closed ? "the prediction (solid), the closed-form solution (dashed), and the error at each sample" : "the prediction and the error at each sample; the network shows the large sample";
  }

  return { node, update };
}

function ticks(low, high) {
  const raw = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const size = [1, 2, 5, 10].find((m) => m * power >= raw) * power;
  const found = [];
  for (let k = Math.ceil(low / size); k * size <= high; k++) found.push(Number((k * size).toPrecision(10)));
  return found;
}
