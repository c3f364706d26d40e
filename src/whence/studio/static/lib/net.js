// A small network: units as boxes (with a picture of what each answers over the plane, where there
// is one), weights as edges as wide as they are large, dashed and of another colour below zero.

import { h, put, s } from "./dom.js";
import { full, number, short } from "./number.js";
import { heat } from "./plane.js";

const BOX = 46;
const GAP = 16;

// Calls `open(name)` when a number is chosen, and `look({name, values, side})` while a unit with a
// picture is pointed at or has the keyboard, then look(null). Returns { node, update(answer, chosen) }.
export function network(open, look) {
  const svg = s("svg", { class: "net", role: "group", tabindex: 0, "aria-label": "The network: arrow keys move along its numbers, Enter opens one" });
  const node = h("div", { class: "scroll net-scroll" }, svg);
  let items = [];
  let at = -1;

  svg.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (move && items.length) point((at + move + items.length) % items.length);
    else if ((event.key === "Enter" || event.key === " ") && at >= 0) open(items[at].name);
    else return;
    event.preventDefault();
  });
  svg.addEventListener("blur", () => point(-1));

  function point(k) {
    items[at]?.node.classList.remove("focus");
    at = k;
    items[at]?.node.classList.add("focus");
    look(items[at]?.unit || null);
    items[at]?.node.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  function update(answer, chosen) {
    const { inputs, layers, weights } = answer.network;
    const { picture, dead } = answer;
    const columns = [inputs, ...layers];
    const most = Math.max(...columns.map((column) => column.length));
    const few = weights.length <= 8;
    const step = few ? 190 : Math.max(110, 480 / columns.length);
    const [width, height] = [BOX + 60 + (columns.length - 1) * step + 40, Math.max(most * (BOX + GAP) + 34, 170)];
    const place = (k, j) => [30 + k * step, 22 + (height - 34 - columns[k].length * (BOX + GAP)) / 2 + j * (BOX + GAP) + GAP / 2];
    const largest = Math.max(2, ...weights.map((w) => Math.abs(number(w.value)) || 0));
    const shut = new Map(dead.map((each) => [each.unit.join(), each]));
    const found = [];
    const mark = (made, name, opens) => {
      if (name === chosen || opens === chosen) made.classList.add("chosen");
      if ([name, opens].includes(answer.at)) made.classList.add("now");
      made.addEventListener("click", () => open(opens));
      found.push({ name: opens, node: made });
      return made;
    };
    const edges = weights.map((w) => {
      const [x1, y1] = place(w.layer, w.from);
      const [x2, y2] = place(w.layer + 1, w.to);
      const [a, b, c, d] = [x1 + BOX, y1 + BOX / 2, x2, y2 + BOX / 2];
      const path = `M${a} ${b}C${(a + c) / 2} ${b} ${(a + c) / 2} ${d} ${c} ${d}`;
      const value = number(w.value);
      const kind = `edge ${value < 0 ? "neg" : "pos"}${w.moved ? " moved" : ""}${shut.has(`${w.layer},${w.to}`) ? " shut" : ""}`;
      const t = 0.5;
      const label = few
        ? s("text", { x: a + (c - a) * t, y: b + (d - b) * t - 7, "text-anchor": "middle", class: "weight" }, signedText(value))
        : null;
      return mark(
        s("g", { class: kind }, s("path", { d: path, class: "hit" }), s("path", { d: path, class: "ink", style: { "stroke-width": (0.7 + (6 * Math.abs(value)) / largest).toFixed(2) } }), label, s("title", {}, `${w.name} = ${full(value)}${w.slope === null ? "" : `\nslope ${full(w.slope)}`}`)),
        w.name,
        w.name,
      );
    });
    const boxes = columns.map((column, k) =>
      column.map((unit, j) => {
        const [x, y] = place(k, j);
        const death = shut.get(`${k - 1},${j}`);
        const value = k ? unit.h : unit.value;
        const map = k === 0 ? pictureOf(picture.inputs, j) : k < columns.length - 1 ? pictureOf(picture.units?.[k - 1], j) : null;
        const parts = [
          map ? s("image", { href: map, x: x + 1, y: y + 1, width: BOX - 2, height: BOX - 2, preserveAspectRatio: "none" }) : null,
          s("rect", { x, y, width: BOX, height: BOX, rx: 6, class: "box" }),
          s("text", { x: x + BOX / 2, y: y - 4, "text-anchor": "middle", class: "name" }, unit.name),
          map && !answer.op ? null : s("text", { x: x + BOX / 2, y: y + BOX / 2, dy: "0.35em", "text-anchor": "middle", class: map ? "value halo" : "value", ...fitting(value === null ? "?" : tight(value)) }, value === null ? "?" : tight(value)),
          k && unit.slope !== null && !map ? s("text", { x: x + BOX / 2 + 3, y: y + BOX - 5, "text-anchor": "middle", class: "slope", ...fitting(`∂ ${tight(unit.slope, 2)}`, BOX - 14) }, `∂ ${tight(unit.slope, 2)}`) : null,
          death ? s("path", { d: `M${x} ${y}l${BOX} ${BOX}m0 ${-BOX}l${-BOX} ${BOX}`, class: "cross" }) : null,
          s("title", {}, death ? death.why : `${unit.name} = ${full(value)}${k && unit.slope !== null ? `\nslope ${full(unit.slope)}` : ""}`),
        ];
        const seen = map ? { name: unit.name, ...cut(k ? picture.units[k - 1] : picture.inputs, j) } : null;
        const box = mark(s("g", { onpointerenter: () => look(seen), onpointerleave: () => look(null), class: `unit${death ? " shut" : ""}` }, parts), unit.opens === answer.at ? unit.opens : unit.name, unit.opens);
        found[found.length - 1].unit = seen;
        if (unit.z_opens === answer.at) box.classList.add("now");
        if (!k) return box;
        const bias = number(unit.bias.value);
        const dot = mark(
          s("g", { class: `bias ${bias < 0 ? "neg" : "pos"}${unit.bias.moved ? " moved" : ""}` }, s("circle", { cx: x - 3, cy: y + BOX - 4, r: 5 }), few ? s("text", { x: x - 1, y: y + BOX + 12, "text-anchor": "middle", class: "weight" }, `${signedText(bias)}`) : null, s("title", {}, `${unit.bias.name} = ${full(bias)}${unit.bias.slope === null ? "" : `\nslope ${full(unit.bias.slope)}`}`)),
          unit.bias.name,
          unit.bias.name,
        );
        return [box, dot];
      }),
    );
    items = found;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.style.setProperty("min-width", `${Math.min(width, 440)}px`);
    svg.style.setProperty("max-width", `${width * 1.35}px`);
    put(svg, edges, boxes);
    if (at >= 0) point(Math.min(at, items.length - 1));
  }

  function pictureOf(stack, j) {
    if (!stack) return null;
    const { values, side } = cut(stack, j);
    return heat(node, values, side, Math.max(1e-9, ...values.map(Math.abs)));
  }

  function cut(stack, j) {
    const [, side] = stack.shape;
    return { values: stack.data.subarray(j * side * side, (j + 1) * side * side), side };
  }

  return { node, update };
}

export function signedText(value) {
  return value === 0 ? "0" : `${value < 0 ? "▼ " : "▲ +"}${tight(value)}`;
}

// A long number is drawn as narrow as its box.
function fitting(text, room = BOX - 8) {
  return text.length > 5 ? { textLength: room, lengthAdjust: "spacingAndGlyphs" } : {};
}

function tight(value, digits = 3) {
  const x = number(value);
  return Number.isFinite(x) && Math.abs(x) >= 0.001 && Math.abs(x) < 1000 ? String(Number(x.toPrecision(digits))).replace("-", "−") : short(x);
}
