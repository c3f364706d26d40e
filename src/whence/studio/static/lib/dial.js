// A number of the prose that is moved: a slider between two ends, whose value is seen at once.

import { h } from "./dom.js";

const POSITIONS = 100;

// `moved(text)` is called with the value as it moves. Returns { node, value() }.
export function dial({ name, what, value, ends }, moved) {
  const [low, high] = ends;
  const log = low > 0 && high / low > 60;
  const step = 10 ** Math.floor(Math.log10((high - low) / POSITIONS));
  const many = log ? POSITIONS : Math.round((high - low) / step);
  const at = (i) => (log ? Number((low * (high / low) ** (i / many)).toPrecision(2)) : Number((low + i * step).toFixed(Math.max(0, -Math.floor(Math.log10(step))))));
  const place = (x) => Math.max(0, Math.min(many, Math.round(log ? (Math.log(x / low) / Math.log(high / low)) * many : (x - low) / step)));
  const shown = h("span", { class: "dial-value number" }, String(at(place(Number(value)))));
  const input = h("input", {
    type: "range",
    min: 0,
    max: many,
    step: 1,
    value: place(Number(value)),
    "aria-label": what || name,
    "aria-valuetext": shown.textContent,
    oninput: () => {
      shown.textContent = String(at(Number(input.value)));
      input.setAttribute("aria-valuetext", shown.textContent);
      moved(shown.textContent);
    },
  });
  const node = h("label", { class: "dial" }, h("span", { class: "dial-name" }, what || name, " = ", shown), h("span", { class: "dial-row" }, h("span", { class: "quiet small", "aria-hidden": "true" }, String(low)), input, h("span", { class: "quiet small", "aria-hidden": "true" }, String(high))));
  return { node, value: () => shown.textContent };
}
