// The plane: what a network answers at every point of it, and the samples.

import { h } from "./dom.js";
import { probability, short } from "./number.js";

const colours = new Map();

// A colour of the theme as [r, g, b].
function rgb(node, name) {
  const text = getComputedStyle(node).getPropertyValue(name).trim();
  if (!colours.has(text)) {
    const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    pen.fillStyle = text || "#888";
    pen.fillRect(0, 0, 1, 1);
    colours.set(text, [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3));
  }
  return colours.get(text);
}

function paint(node, values, side, scale, middle) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(side, side);
  const [low, high, none] = [rgb(node, "--neg"), rgb(node, "--pos"), rgb(node, "--panel")];
  for (let i = 0; i < side * side; i++) {
    const t = Math.max(-1, Math.min(1, (values[i] - middle) / scale)) || 0;
    const to = t < 0 ? low : high;
    const part = Math.abs(t) * 0.72;
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = none[c] + (to[c] - none[c]) * part;
    image.data[4 * i + 3] = 255;
  }
  pen.putImageData(image, 0, 0);
  return canvas;
}

export function heat(node, values, side, scale) {
  return paint(node, values, side, scale, 0).toDataURL();
}

// The output over the plane with its border at P = 0.5. Returns { node, update(picture, followed),
// large(unit) }: {name, values, side} of a unit is shown in its place, null shows the output again.
export function plane() {
  const canvas = h("canvas", { class: "plane", role: "img" });
  const said = h("p", { class: "quiet plane-said" }, "");
  const node = h("div", {}, canvas, said);
  let shown = null;
  let last = null;
  let unit = null;

  canvas.addEventListener("pointermove", (event) => {
    if (!shown || unit) return;
    const box = canvas.getBoundingClientRect();
    const [u, v] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const side = shown.p.shape[0];
    const [i, j] = [v, u].map((t) => Math.max(0, Math.min(side - 1, Math.floor(t * side))));
    const where = (t) => ((t * 2 - 1) * shown.limit).toFixed(2).replace("-", "−");
    said.textContent = `x1 ${where(u)}, x2 ${where(1 - v)}: P(class 1) = ${probability(shown.p.data[i * side + j])}`;
  });
  canvas.addEventListener("pointerleave", () => (said.textContent = LEGEND));

  function large(given) {
    unit = given;
    if (shown) update(shown, last);
    said.textContent = unit ? `${unit.name} over the plane, from ${short(Math.min(...unit.values))} (blue) to ${short(Math.max(...unit.values))} (orange); the line is where it is 0` : LEGEND;
  }

  function update(picture, followed) {
    [shown, last] = [picture, followed];
    const size = 640;
    canvas.width = canvas.height = size;
    const pen = canvas.getContext("2d");
    const side = unit ? unit.side : picture.p.shape[0];
    const most = unit ? Math.max(1e-9, ...unit.values.map(Math.abs)) : 0.5;
    const values = unit ? unit.values : picture.p.data;
    pen.imageSmoothingEnabled = true;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(paint(canvas, values, side, most, unit ? 0 : 0.5), 0, 0, size, size);
    pen.strokeStyle = `rgb(${rgb(canvas, "--ink")})`;
    pen.lineWidth = 2;
    border(pen, values, side, size / side, unit ? 0 : 0.5);
    const to = ([x, y]) => [(x / picture.limit + 1) * (size / 2), (1 - y / picture.limit) * (size / 2)];
    dots(pen, picture.held_points, picture.held_labels, to, false);
    dots(pen, picture.points, picture.labels, to, true);
    if (followed !== null && followed !== undefined) ring(pen, to([picture.points.data[2 * followed], picture.points.data[2 * followed + 1]]));
    canvas.dataset.unit = unit ? unit.name : "";
    canvas.setAttribute("aria-label", `The plane coloured by P(class 1), with ${picture.labels.data.length} samples; the table has their numbers`);
    if (!said.textContent) said.textContent = LEGEND;
  }

  function dots(pen, points, labels, to, solid) {
    for (let i = 0; i < labels.data.length; i++) {
      const [x, y] = to([points.data[2 * i], points.data[2 * i + 1]]);
      const one = labels.data[i] === 1;
      pen.beginPath();
      if (one) pen.arc(x, y, 6.5, 0, 7);
      else pen.rect(x - 6, y - 6, 12, 12);
      pen.fillStyle = solid ? `rgb(${rgb(canvas, one ? "--pos" : "--neg")})` : `rgb(${rgb(canvas, "--panel")})`;
      pen.strokeStyle = solid ? `rgb(${rgb(canvas, "--panel")})` : `rgb(${rgb(canvas, one ? "--pos" : "--neg")})`;
      pen.lineWidth = solid ? 1.5 : 2.5;
      pen.fill();
      pen.stroke();
    }
  }

  function ring(pen, [x, y]) {
    pen.beginPath();
    pen.arc(x, y, 14, 0, 7);
    pen.strokeStyle = `rgb(${rgb(canvas, "--ink")})`;
    pen.lineWidth = 3;
    pen.stroke();
  }

  return { node, update, large };
}

const LEGEND = "● class 1, ■ class 0; hollow: held out; ringed: the sample that the network shows";

// The line where it is at `level`, cell by cell between the middles of the picture's points.
function border(pen, p, side, size, level) {
  pen.beginPath();
  for (let i = 0; i + 1 < side; i++) {
    for (let j = 0; j + 1 < side; j++) {
      const corners = [[i, j], [i, j + 1], [i + 1, j + 1], [i + 1, j]];
      const cuts = [];
      for (let k = 0; k < 4; k++) {
        const [a, b] = [corners[k], corners[(k + 1) % 4]];
        const [u, v] = [p[a[0] * side + a[1]] - level, p[b[0] * side + b[1]] - level];
        if (u < 0 !== v < 0) {
          const t = u / (u - v);
          cuts.push([(a[1] + t * (b[1] - a[1]) + 0.5) * size, (a[0] + t * (b[0] - a[0]) + 0.5) * size]);
        }
      }
      for (let k = 0; k + 1 < cuts.length; k += 2) {
        pen.moveTo(...cuts[k]);
        pen.lineTo(...cuts[k + 1]);
      }
    }
  }
  pen.stroke();
}
