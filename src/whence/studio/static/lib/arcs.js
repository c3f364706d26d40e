// Who reads whom: arcs between the words of a text, as wide as the weights of one head. Between two
// texts the source stands above the target. Hover or focus shows one word's arcs with their figures.

import { h, put, s } from "./dom.js";
import { addressOf, visible } from "./matrix.js";
import { number, probability } from "./number.js";

const [LEAST, TALL, FAINT] = [0.02, 150, 0.03];

// `tile`: the weights, a row for each word that reads; `pick(address)` opens one of them.
export function arcs(tile, pick) {
  const [rows, columns] = tile.values.shape;
  const reading = Array.from({ length: rows }, (_, i) => visible(tile.row_labels?.[i] ?? String(i)));
  const read = Array.from({ length: columns }, (_, i) => visible(tile.column_labels?.[i] ?? String(i)));
  const same = rows === columns && reading.every((word, i) => word === read[i]);
  const long = Math.max(...reading.concat(read).map((word) => word.length), 1);
  const step = Math.max(22, Math.min(84, long * 8.2 + 12));
  const width = Math.max(rows, columns) * step + 8;
  const x = (i) => 4 + (i + 0.5) * step;
  const w = (q, k) => number(tile.values.data[q * columns + k]) || 0;
  let far = 1; // the longest arc that can be seen
  for (let q = 0; q < rows; q++) for (let k = 0; k < columns; k++) if (w(q, k) > 4 * LEAST) far = Math.max(far, Math.abs(q - k));
  const high = same ? Math.min(TALL, 24 + (far * step) / 2) : 120;
  const height = same ? high + 44 : high + 64;
  const lines = s("g", { class: "arc-lines" });
  const figures = s("g", { class: "arc-figures" });
  const base = same ? high + 6 : 26;
  const below = same ? base : high + 26;
  const said = h("p", { class: "arc-said number", "aria-live": "polite" });
  let at = rows - 1;

  const line = (q, k) => {
    if (!same) return `M${x(k)} ${base + 8}C${x(k)} ${(base + below) / 2} ${x(q)} ${(base + below) / 2} ${x(q)} ${below - 16}`;
    if (q === k) return `M${x(q) - 5} ${base - 2}c-4 -14 14 -14 10 0`;
    const [a, b] = [x(k), x(q)];
    const ry = Math.max(10, Math.min(high - 14, Math.abs(b - a) / 2));
    return `M${a} ${base - 2}A${Math.abs(b - a) / 2} ${ry} 0 0 ${a < b ? 1 : 0} ${b} ${base - 2}`;
  };
  const arc = (q, k, on) => s("path", { d: line(q, k), class: on ? "arc on" : "arc", style: { "stroke-width": (0.6 + 8 * w(q, k)).toFixed(2), opacity: on ? (0.25 + 0.75 * w(q, k)).toFixed(3) : Math.max(FAINT, 0.35 * w(q, k)).toFixed(3) } });

  function show(q) {
    const faint = [];
    for (let i = 0; i < rows; i++) for (let k = 0; k < columns; k++) if (i !== q && w(i, k) > LEAST * 4) faint.push(arc(i, k, false));
    const own = Array.from({ length: columns }, (_, k) => k).filter((k) => w(q, k) > LEAST);
    put(lines, faint, own.map((k) => arc(q, k, true)));
    put(figures, own.filter((k) => w(q, k) >= 0.05).map((k) => s("text", { x: x(k), y: same ? base + 34 : 10, "text-anchor": "middle" }, w(q, k).toFixed(2).replace(/^0/, ""))));
    words.forEach((node, i) => node.classList.toggle("on", i === q));
    const most = [...own].sort((a, b) => w(q, b) - w(q, a)).slice(0, 4);
    said.textContent = `\u2018${reading[q]}\u2019 attends to ${most.map((k) => `\u2018${read[k]}\u2019 ${probability(w(q, k))}`).join(", ")}`;
  }

  const word = (text, i, y, more) => s("g", { class: "arc-word", ...more }, s("rect", { x: x(i) - step / 2 + 1, y: y - 3, width: step - 2, height: 22, rx: 4 }), s("text", { x: x(i), y: y + 12, "text-anchor": "middle" }, text));
  const open = (q) => {
    let k = 0;
    for (let i = 1; i < columns; i++) if (w(q, i) > w(q, k)) k = i;
    pick(addressOf(tile, q, k));
  };
  const words = reading.map((text, q) =>
    word(text, q, below, {
      tabindex: q === at ? 0 : -1,
      role: "button",
      "aria-label": `${text} at ${q}: what it attends to; Enter opens the largest weight`,
      onpointerenter: () => show(q),
      onclick: () => open(q),
      onfocus: () => move(q),
      onkeydown: (event) => {
        const way = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1, Home: -rows, End: rows }[event.key];
        if (way) {
          event.preventDefault();
          move(Math.max(0, Math.min(rows - 1, q + way)));
          words[at].focus();
        } else if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          open(q);
        }
      },
    }),
  );
  function move(q) {
    words[at].setAttribute("tabindex", "-1");
    at = q;
    words[at].setAttribute("tabindex", "0");
    show(q);
  }
  const above = same ? null : read.map((text, k) => word(text, k, base - 12, { "aria-hidden": "true" }));
  const svg = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, class: "arcs", role: "group", "aria-label": "Attention between the words: arrow keys move along them" }, lines, figures, above, words);
  show(at);
  return h("div", { class: "arcs-place" }, h("div", { class: "scroll" }, svg), said);
}
