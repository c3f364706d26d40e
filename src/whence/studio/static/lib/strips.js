// One module's numbers in the flow: a row of cells for each token, their numbers on hover.

import { h } from "./dom.js";
import { addressOf } from "./matrix.js";
import { full, short } from "./number.js";
import { crossOut, penOf } from "./pen.js";

// options: from and count (which columns are drawn), wide and tall (pixels of a cell), pick(address).
export function strips(tile, { from, count, wide, tall, pick }) {
  const [rows, all] = tile.values.shape;
  const first = Math.max(0, Math.min(from, all - count));
  const columns = Math.min(count, all);
  const values = tile.values.data;
  const at_ = (r, c) => values[r * all + first + c];
  const most = values.reduce((m, x) => (Number.isFinite(x) ? Math.max(m, Math.abs(x)) : m), 0) || 1;
  const number = h("strong", {});
  const where = h("span", { class: "flow-where" });
  const said = h("span", { class: "flow-said number", "aria-live": "off", hidden: true }, where, " = ", number);
  const canvas = h("canvas", { class: "flow-cells", tabindex: "0", role: "img", "aria-label": `${tile.name}: ${rows} tokens, ${all} numbers each; arrow keys move, Enter opens`, style: { width: `${columns * wide}px`, height: `${rows * tall}px` } });
  let cursor = null;

  function draw() {
    const { pen, colour } = penOf(canvas, columns * wide, rows * tall);
    const [pos, neg] = [colour("--pos"), colour("--neg")];
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        const x = at_(r, c);
        if (!Number.isFinite(x)) {
          crossOut(pen, c * wide, r * tall, wide, tall, colour("--quiet"));
          continue;
        }
        pen.globalAlpha = x ? 0.06 + 0.94 * (Math.abs(x) / most) : 1;
        pen.fillStyle = !x ? colour("--soft") : x < 0 ? neg : pos;
        pen.fillRect(c * wide + 0.5, r * tall + 1, wide - 1, tall - 2);
      }
    }
    pen.globalAlpha = 1;
    if (!cursor) return;
    pen.strokeStyle = colour("--ink");
    pen.lineWidth = 2;
    pen.strokeRect(cursor[1] * wide + 1, cursor[0] * tall + 1, wide - 2, tall - 2);
  }

  function tell([r, c]) {
    cursor = [r, c];
    const x = at_(r, c);
    where.textContent = addressOf(tile, r, first + c);
    number.textContent = full(x);
    said.hidden = false;
    said.style.setProperty("--x", `${(c + 1) * wide + 6}px`);
    said.style.setProperty("--y", `${r * tall - 4}px`);
    canvas.title = `${where.textContent} = ${short(x)}`;
    draw();
  }

  function leave() {
    cursor = null;
    said.hidden = true;
    draw();
  }

  const clamp = (x, n) => Math.max(0, Math.min(n - 1, x));
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [clamp(Math.floor(((event.clientY - box.top) / box.height) * rows), rows), clamp(Math.floor(((event.clientX - box.left) / box.width) * columns), columns)];
  };
  const open = ([r, c]) => pick(addressOf(tile, r, first + c));
  canvas.addEventListener("pointermove", (event) => tell(at(event)));
  canvas.addEventListener("pointerleave", leave);
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("click", (event) => open(at(event)));
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const [r, c] = cursor || [0, 0];
    if (way) {
      event.preventDefault();
      tell([clamp(r + way[0], rows), clamp(c + way[1], columns)]);
    } else if (event.key === "Enter") open([r, c]);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => canvas.isConnected && draw());
  requestAnimationFrame(draw);
  return h("div", { class: "flow-rows" }, canvas, said);
}
