// A matrix as a heat map: hover and keyboard tell each number, a click opens it, a table stands
// behind. It draws one tile of at most 128 × 128 numbers, and says which.

import { button, h, printable, scrolls } from "./dom.js";
import { full, number, short } from "./number.js";
import { crossOut, penOf } from "./pen.js";

const QUANTITIES = [".grad", ".update", ".after"];

// The address of a cell of a tile, row and column counted within it.
export function addressOf(tile, row, column) {
  const name = tile.names ? tile.names[row] : tile.name;
  let place = tile.first + (tile.names ? 0 : (tile.top + row) * tile.columns) + tile.left + column;
  const index = [];
  for (const size of [...tile.shape].reverse()) {
    index.unshift(place % size);
    place = Math.floor(place / size);
  }
  if (!index.length) return name;
  const quantity = QUANTITIES.find((each) => name.endsWith(each)) || "";
  return `${quantity ? name.slice(0, -quantity.length) : name}[${index.join(",")}]${quantity}`;
}

export function visible(text) {
  return text.replaceAll("\n", "\u21b5").replaceAll("\t", "\u21e5").replaceAll(" ", "\u2423");
}

// options: title, role ("q", "k", "v"), size (pixels of a cell), labels (draw the rows' labels),
// lit ([[row, column]] of the whole matrix), chosen ([row, column]), pick(address), move(row,
// column) to another tile, shades ("all": 0 to the largest, for weights of attention).
export function matrix(tile, options) {
  const given = options || {};
  const [rows, columns] = tile.values.shape;
  const size = given.size || Math.max(3, Math.min(16, Math.floor(520 / Math.max(columns, 1))));
  const values = tile.values.data;
  const most = values.reduce((m, x) => (Number.isFinite(x) ? Math.max(m, Math.abs(x)) : m), 0);
  const least = values.reduce((m, x) => (Number.isFinite(x) ? Math.min(m, x) : m), 0);
  const lit = new Set((given.lit || []).map(([r, c]) => `${r - tile.top},${c - tile.left}`));
  const chosen = given.chosen ? [given.chosen[0] - tile.top, given.chosen[1] - tile.left] : null;
  let cursor = null;

  const canvas = h("canvas", { class: "cells", tabindex: "0", role: "img", "aria-label": `${named(tile, given.title)}: ${rows} by ${columns} numbers; arrow keys move, Enter opens`, style: { width: `${columns * size}px`, height: `${rows * size}px` } });
  const said = h("p", { class: "said-cell number", "aria-live": "polite" }, "\u00a0");

  function draw() {
    const { pen, colour } = penOf(canvas, columns * size, rows * size);
    pen.fillStyle = colour("--soft");
    pen.fillRect(0, 0, columns * size, rows * size);
    const positive = given.role ? colour(`--${given.role}`) : colour("--pos");
    const negative = given.role ? colour("--ink") : colour("--neg");
    const gap = size > 7 ? 1 : 0;
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        const x = values[r * columns + c];
        if (!Number.isFinite(x)) {
          crossOut(pen, c * size, r * size, size, size, colour("--quiet"));
          continue;
        }
        pen.globalAlpha = most ? Math.abs(x) / most : 0;
        pen.fillStyle = x < 0 ? negative : positive;
        pen.fillRect(c * size, r * size, size - gap, size - gap);
      }
    }
    pen.globalAlpha = 1;
    if (lit.size) {
      pen.globalAlpha = 0.72;
      pen.fillStyle = colour("--panel");
      for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) if (!lit.has(`${r},${c}`)) pen.fillRect(c * size, r * size, size, size);
      pen.globalAlpha = 1;
      for (const each of lit) frame(pen, ...each.split(",").map(Number), colour("--accent"), size > 7 ? 1.5 : 1);
    }
    if (chosen) frame(pen, ...chosen, colour("--ink"), 2);
    if (cursor) frame(pen, ...cursor, colour("--ink"), 2);
  }

  function frame(pen, r, c, colour, width) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.strokeRect(c * size + width / 2, r * size + width / 2, Math.max(1, size - width), Math.max(1, size - width));
  }

  function tell(r, c) {
    cursor = [r, c];
    const words = [addressOf(tile, r, c), "=", full(values[r * columns + c])];
    const row = tile.row_labels?.[r];
    const column = tile.column_labels?.[c];
    if (row !== undefined && row !== null) words.push(`\u00b7 '${visible(row)}'`);
    if (column !== undefined && column !== null) words.push(`\u2192 '${visible(column)}'`);
    said.textContent = printable(words.join(" "));
    canvas.title = said.textContent;
    draw();
  }

  function at(event) {
    const box = canvas.getBoundingClientRect();
    const c = Math.floor(((event.clientX - box.left) / box.width) * columns);
    const r = Math.floor(((event.clientY - box.top) / box.height) * rows);
    return [Math.max(0, Math.min(rows - 1, r)), Math.max(0, Math.min(columns - 1, c))];
  }

  function open(r, c) {
    if (given.pick && tile.opens !== false) given.pick(addressOf(tile, r, c));
  }

  canvas.addEventListener("pointermove", (event) => tell(...at(event)));
  canvas.addEventListener("pointerleave", () => {
    cursor = null;
    draw();
  });
  canvas.addEventListener("click", (event) => open(...at(event)));
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const [r, c] = cursor || chosen || [0, 0];
    if (way) {
      event.preventDefault();
      tell(Math.max(0, Math.min(rows - 1, r + (cursor ? way[0] : 0))), Math.max(0, Math.min(columns - 1, c + (cursor ? way[1] : 0))));
    } else if (event.key === "Enter") open(r, c);
  });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => canvas.isConnected && draw());
  requestAnimationFrame(draw);

  return h(
    "figure",
    { class: `matrix ${given.role || ""}`, style: { width: `max(11.5rem, ${columns * size + 8 + (given.labels === false || !tile.row_labels ? 0 : 30)}px)` } },
    h("figcaption", {}, h("span", { class: "title" }, given.title || tile.name), h("span", { class: "quiet" }, ` ${part(tile)}`), given.move ? steps(tile, given.move) : null),
    h("div", { class: "cells-place" }, given.labels === false || !tile.row_labels ? null : labels(tile, size), canvas),
    said,
    h("p", { class: "scale quiet" }, h("span", { class: least < 0 ? "ramp" : "ramp above", "aria-hidden": "true" }), `${short(least < 0 ? -most : 0)} to ${short(most)}`),
    behind(tile, given.title || tile.name),
  );
}

// What a picture is called, by its title, its tensor and which matrix of it this is.
function named(tile, title) {
  const own = title && !title.includes(tile.name) ? `${title}, ${tile.name}` : title || tile.name;
  return `${own} ${part(tile)}`;
}

function part(tile) {
  const [rows, columns] = tile.values.shape;
  const whole = `${tile.rows}\u00d7${tile.columns}`;
  const which = tile.index?.length ? `[${tile.index.join(",")}] ` : "";
  if (rows === tile.rows && columns === tile.columns) return which + whole;
  const span = (from, n, all) => (n === all ? `all ${all}` : `${from}\u2013${from + n - 1} of ${all}`);
  return `${which}rows ${span(tile.top, rows, tile.rows)}, columns ${span(tile.left, columns, tile.columns)}`;
}

function steps(tile, move) {
  const [rows, columns] = tile.values.shape;
  const ways = [
    ["\u2190", "left", tile.left > 0, tile.top, tile.left - 1],
    ["\u2192", "right", tile.left + columns < tile.columns, tile.top, tile.left + columns],
    ["\u2191", "up", tile.top > 0, tile.top - 1, tile.left],
    ["\u2193", "down", tile.top + rows < tile.rows, tile.top + rows, tile.left],
  ];
  const some = ways.filter(([, , there]) => there);
  return some.length ? h("span", { class: "tools" }, some.map(([glyph, word, , row, column]) => button(glyph, () => move(row, column), { class: "small", "aria-label": `Tile ${word}` }))) : null;
}

function labels(tile, size) {
  const thin = size < 11 ? Math.ceil(11 / size) : 1;
  return h("div", { class: "row-labels", "aria-hidden": "true", style: { "--cell": `${size}px` } }, tile.row_labels.slice(0, tile.values.shape[0]).map((label, i) => h("span", {}, i % thin ? "" : visible(label).slice(0, 8))));
}

// The numbers themselves, made when they are asked for.
function behind(tile, title) {
  const [rows, columns] = tile.values.shape;
  const place = h("div", scrolls(`${title} as a table`));
  return h("details", { class: "behind", "data-local": "", ontoggle: () => place.childElementCount || place.append(numbers()) }, h("summary", {}, "table"), place);

  function numbers() {
    const head = h("tr", {}, h("th", { scope: "col" }, h("span", { class: "hidden" }, "row")), Array.from({ length: columns }, (_, c) => h("th", { scope: "col" }, tile.column_labels ? visible(tile.column_labels[c]) : tile.left + c)));
    const body = Array.from({ length: rows }, (_, r) => h("tr", {}, h("th", { scope: "row" }, `${tile.top + r} ${tile.row_labels ? visible(tile.row_labels[r]) : ""}`), Array.from({ length: columns }, (_, c) => h("td", { title: full(number(tile.values.data[r * columns + c])) }, short(tile.values.data[r * columns + c])))));
    return h("table", {}, h("thead", {}, head), h("tbody", {}, body));
  }
}
