// The settings of a small model: what it learns, what it is, and how it learns.

import { button, h, put, s } from "./dom.js";
import { short } from "./number.js";

const NAMES = { coffee: "coffee shop (a line)", one: "by hand, one sample", three: "by hand, three samples", "two-features": "by hand, two features", moons: "moons", circles: "circles", xor: "xor", spiral: "spiral", gaussians: "two clouds" };

// Draw the settings once, and from then on only set their values, so that the focus stays.
// `configure(changes)` begins anew, `rate(value)` goes on with another learning rate.
export function settings(place, answer, configure, rate) {
  const shape = JSON.stringify([answer.setup.data, answer.setup.hidden, answer.choices]);
  if (place.shape !== shape) {
    place.shape = shape;
    const focused = place.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
    place.fields = build(place, answer, configure, rate);
    if (focused) place.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  }
  for (const set of place.fields) set(answer);
}

function build(place, { setup, choices, presets, thumbnails }, configure, rate) {
  const fields = [];
  const points = choices.points.includes(setup.data);
  const field = (label, control, ...more) => h("label", { class: "field" }, h("span", {}, label), control, more);
  const select = (label, name, options, change) => {
    const control = h("select", { "aria-label": label, onchange: (event) => change(event.target.value) }, options.map(([value, text]) => h("option", { value }, text)));
    fields.push((answer) => (control.value = String(answer.setup[name])));
    return field(label, control);
  };
  const slider = (label, name, values, change, value = (answer) => answer.setup[name]) => {
    const said = h("span", { class: "number" });
    const control = h("input", { type: "range", min: 0, max: values.length - 1, step: 1, "aria-label": label, oninput: (event) => (said.textContent = short(values[event.target.value])), onchange: (event) => change(values[event.target.value]) });
    fields.push((answer) => {
      const x = value(answer);
      const near = values.reduce((best, v, i) => (Math.abs(Math.log((v + 1e-9) / (x + 1e-9))) < Math.abs(Math.log((values[best] + 1e-9) / (x + 1e-9))) ? i : best), 0);
      if (document.activeElement !== control || Number(control.value) !== near) control.value = String(near);
      control.setAttribute("aria-valuetext", short(x));
      said.textContent = short(x);
    });
    return h("label", { class: "field" }, h("span", {}, label, " ", said), control);
  };
  const seed = h("input", { type: "number", min: 0, max: 999999, size: 5, "aria-label": "seed", onchange: (event) => configure({ seed: Math.max(0, Math.round(Number(event.target.value))) || 0 }) });
  fields.push((answer) => (seed.value = String(answer.setup.seed)));
  const rates = [0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.07, 0.09, 0.1, 0.2, 0.3, 0.5, 1, 3, 10];
  const read = points ? h("fieldset", { class: "features" }, h("legend", { class: "label" }, "inputs"), h("div", { class: "row" }, choices.features.map((name) => feature(name)))) : null;

  function feature(name) {
    const box = h("input", {
      type: "checkbox",
      onchange: () => {
        const chosen = choices.features.filter((each, i) => read.querySelectorAll("input")[i].checked);
        if (chosen.length) configure({ features: chosen });
        else box.checked = true;
      },
    });
    fields.push((answer) => (box.checked = answer.setup.features.includes(name)));
    return h("label", { class: "tick" }, box, " ", name);
  }

  put(
    place,
    h("div", { class: "thumbs", role: "group", "aria-label": "Data to play with" }, Object.entries(thumbnails).map(([name, thumb]) => button([picture(thumb), h("span", {}, NAMES[name] || name)], () => configure({ data: name }), { class: "thumb", "aria-pressed": String(setup.data === name) }))),
    h(
      "div",
      { class: "row settings" },
      select("data", "data", Object.keys(presets).map((name) => [name, NAMES[name] || name]), (data) => configure({ data })),
      slider("learning rate", "rate", rates, rate, (answer) => answer.rate),
      select("optimizer", "optimizer", choices.optimizer.map((name) => [name, name]), (optimizer) => configure({ optimizer })),
      setup.hidden.length ? select("activation", "activation", choices.activation.map((name) => [name, name]), (activation) => configure({ activation })) : null,
      setup.data === "one" ? null : select("batch", "batch", batches(setup).map((n) => [String(n), n ? String(n) : "all"]), (n) => configure({ batch: Number(n) })),
      points ? slider("noise", "noise", [0, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5], (noise) => configure({ noise })) : null,
      h("span", { class: "seed" }, h("span", { class: "label" }, "seed"), h("span", { class: "row tight" }, seed, button("New", () => configure({ seed: Number(seed.value) + 1 }), { class: "small", title: "new points and initial weights" }))),
    ),
    h("div", { class: "row settings" }, layers(setup, configure), read),
  );
  return fields;
}

// A few of the samples, small.
function picture({ at, label }) {
  const dots = Array.from({ length: at.shape[0] }, (_, i) => {
    const [x, y] = [4 + 56 * at.data[2 * i], 40 - 36 * at.data[2 * i + 1]];
    return s("circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: at.shape[0] > 20 ? 1.7 : 2.8, class: label ? (label.data[i] > 0 ? "one" : "zero") : "sample" });
  });
  return s("svg", { viewBox: "0 0 64 44", "aria-hidden": "true" }, dots);
}

function batches({ batch }) {
  return [...new Set([1, 5, 10, 30, batch, 0])].sort((a, b) => (a || 1e9) - (b || 1e9));
}

function layers({ hidden }, configure) {
  const set = (k, n) => configure({ hidden: hidden.map((was, i) => (i === k ? n : was)) });
  const change = (k, by) => button(by > 0 ? "+" : "−", () => set(k, hidden[k] + by), { class: "small", disabled: hidden[k] + by < 1 || hidden[k] + by > 16, "aria-label": `${by > 0 ? "add a unit to" : "remove a unit from"} hidden layer ${k + 1}` });
  return h(
    "fieldset",
    { class: "layers" },
    h("legend", { class: "label" }, "hidden layers"),
    h(
      "div",
      { class: "row" },
      hidden.map((n, k) => h("span", { class: "layer" }, change(k, -1), h("span", { class: "number" }, String(n)), change(k, 1))),
      hidden.length ? button("remove", () => configure({ hidden: hidden.slice(0, -1) }), { class: "small", "aria-label": "remove the last hidden layer" }) : h("span", { class: "quiet" }, "none"),
      hidden.length < 6 ? button("add", () => configure({ hidden: [...hidden, hidden[hidden.length - 1] || 4] }), { class: "small", "aria-label": "add a hidden layer" }) : null,
    ),
  );
}
