// A line chart over steps as SVG. The mouse and the keyboard reach every step, also those between
// the points that are drawn; a stretch that is dragged over opens, with its own points.

import { button, h, put, s, scrolls } from "./dom.js";
import { count, full, number, short } from "./number.js";
import { axesOf, lineOf, MARGIN, marksOf, nearest, scalesOf, tableOf } from "./scales.js";

const DRAG = 6; // pixels that make a drag of a click

// series: [{ name, colour (a CSS value), steps, values, dots, width, faded, of }]; steps and values
// are arrays or typed arrays of one length; `of` names a column of the record (of `record`,
// where the series has one of its own).
// Options: title, axis (the name of the values), height, log, pick(step), marks: [{ step, text, kind }],
// record: the run's true points, as of points.js; cut(first, last): a promise of the series of a stretch.
// Returns { node, update(series, marks), select(step), close() }.
export function chart(options) {
  const { title, height = 190, pick, record, cut } = options;
  const state = { series: [], marks: options.marks || [], cursor: null, selected: null, log: options.log || false, width: 0, range: null, inside: null, drag: null };
  const legend = h("div", { class: "legend" });
  const svg = s("svg", { role: "slider", "aria-label": title, "aria-orientation": "horizontal", tabindex: 0, height, class: "chart-area" });
  const place = h("div", scrolls(`${title} as a table`));
  const behind = h("details", { class: "behind", "data-local": "" }, h("summary", {}, "Table"), place);
  const log = button("log", () => ((state.log = !state.log), draw()), { class: "small toggle", title: "logarithmic scale", "aria-pressed": "false", "data-local": "" });
  const closer = button("+", () => zoom(0.5), { class: "small", title: "zoom in (or drag across the steps)", "aria-label": `Zoom in on ${title}` });
  const wider = button("all", () => show(null), { class: "small", title: "show all steps", "aria-label": `Show all steps of ${title}` });
  const tools = h("div", { class: "tools" }, log, cut ? [closer, wider] : null);
  const node = h("figure", { class: "chart" }, h("figcaption", {}, h("span", { class: "title" }, title), legend, tools), svg, behind);
  const [axes, lines, cursor] = [s("g", { class: "axes" }), s("g", {}), s("g", { class: "cursor", "pointer-events": "none" })];
  svg.append(axes, lines, cursor);
  behind.addEventListener("toggle", rows);
  let scales = null;
  let asked = 0;

  const shown = () => state.inside || state.series;

  function draw() {
    log.setAttribute("aria-pressed", String(state.log));
    wider.disabled = !state.range;
    if (!state.width) return point(); // drawn once the page has told how wide it may be
    const { width } = state;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    scales = scalesOf(shown(), state.log, width, height, state.range);
    put(axes, axesOf(scales, width, height, options.axis || title.toLowerCase()));
    const empty = !shown().some((each) => each.steps.length);
    put(lines, empty ? s("text", { x: width / 2, y: height / 2, class: "empty", "text-anchor": "middle" }, "no steps yet") : null, shown().map((each) => lineOf(each, scales, state.range)), marksOf(state.marks, scales, height));
    if (state.range) node.dataset.range = state.range.join("-");
    else delete node.dataset.range;
    point();
    rows();
  }

  // What a series is at a step: its own point there, or the record's; else the nearest point.
  function valueAt(each, step) {
    const at = nearest(each.steps, step);
    if (step === null || each.steps[at] === step) return [at < 0 ? null : each.steps[at], at < 0 ? null : number(each.values[at])];
    const source = each.record ?? record;
    if (each.of && source) {
      const known = source.at(step);
      if (known === undefined) source.load(step).then(() => step === (state.cursor ?? state.selected) && point());
      return [step, known === undefined ? undefined : (known?.[each.of] ?? null)];
    }
    return [each.steps[at], at < 0 ? null : number(each.values[at])];
  }

  function point() {
    const step = state.cursor ?? state.selected;
    put(cursor);
    const values = shown().map((each) => [each, ...valueAt(each, step)]);
    put(
      legend,
      values.map(([each, at, value]) => h("span", { class: "key", style: { "--colour": each.colour } }, each.name, " ", value === undefined ? "\u2026" : h("span", { class: "number", title: full(value) }, short(value)), step !== null && at !== null && at !== undefined && at !== step ? h("span", { class: "at" }, ` at ${count(at)}`) : null)),
      step === null ? null : h("span", { class: "key step" }, `step ${count(step)}`),
    );
    if (!scales) return;
    aria(step, values);
    if (state.drag) cursor.append(s("rect", { class: "stretch", x: Math.min(...state.drag), y: MARGIN.top, width: Math.abs(state.drag[1] - state.drag[0]), height: height - MARGIN.top - MARGIN.bottom }));
    if (step === null || step < scales.left || step > scales.right) return;
    const x = scales.x(step);
    cursor.append(s("line", { x1: x, x2: x, y1: MARGIN.top, y2: height - MARGIN.bottom }));
    for (const [each, at, value] of values) {
      const y = value === undefined || value === null ? NaN : scales.y(value);
      if (Number.isFinite(y)) cursor.append(s("circle", { cx: scales.x(at), cy: y, r: 3.5, fill: each.colour, style: { fill: each.colour } }));
    }
  }

  function aria(step, values) {
    svg.setAttribute("aria-valuemin", scales.left);
    svg.setAttribute("aria-valuemax", scales.right);
    svg.setAttribute("aria-valuenow", step ?? scales.right);
    const told = values.filter(([, , value]) => Number.isFinite(value)).map(([each, , value]) => `${each.name} ${short(value)}`);
    svg.setAttribute("aria-valuetext", `step ${step ?? scales.right}: ${told.join(", ") || "no values"}`);
  }

  function rows() {
    if (behind.open) put(place, tableOf(shown()));
  }

  function move(step) {
    state.cursor = step;
    point();
  }

  // ---- a stretch of the steps ----

  async function show(range) {
    const mine = ++asked;
    if (!range || range[1] - range[0] < 2) {
      [state.range, state.inside] = [null, null];
      return draw();
    }
    const found = await cut(...range).catch(() => null);
    if (mine !== asked || !found) return;
    [state.range, state.inside] = [range, found];
    draw();
  }

  function zoom(share) {
    const middle = state.cursor ?? state.selected ?? (scales.left + scales.right) / 2;
    const half = ((scales.right - scales.left) * share) / 2;
    const whole = scalesOf(state.series, state.log, 640, height, null);
    const from = Math.max(whole.left, Math.round(middle - half));
    const to = Math.min(whole.right, Math.round(middle + half));
    show(from <= whole.left && to >= whole.right ? null : [from, to]);
  }

  // ---- mouse and keyboard ----

  const within = (step) => Math.max(scales.left, Math.min(scales.right, Math.round(step)));
  const pixel = (event) => Math.max(MARGIN.left, Math.min(state.width - MARGIN.right, event.clientX - svg.getBoundingClientRect().left));
  svg.addEventListener("pointermove", (event) => {
    if (!scales?.ticksX) return;
    if (state.from !== undefined && cut && Math.abs(pixel(event) - state.from) > DRAG) state.drag = [state.from, pixel(event)];
    if (shown().some((each) => each.steps.length)) move(within(scales.step(pixel(event))));
  });
  svg.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    state.from = pixel(event);
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointerup", () => {
    const dragged = state.drag;
    [state.drag, state.from] = [null, undefined];
    if (dragged) show(dragged.map((x) => within(scales.step(x))).sort((a, b) => a - b));
    else if (state.cursor !== null) pick?.(state.cursor);
  });
  svg.addEventListener("pointercancel", () => ([state.drag, state.from] = [null, undefined]));
  svg.addEventListener("pointerleave", () => move(null));
  svg.addEventListener("dblclick", () => cut && show(null));
  svg.addEventListener("blur", () => move(null));
  svg.addEventListener("keydown", (event) => {
    if (!shown().some((each) => each.steps.length)) return;
    const far = Math.max(10, Math.round((scales.right - scales.left) / 20));
    const jump = { ArrowLeft: -1, ArrowRight: 1, PageUp: -far, PageDown: far, Home: -Infinity, End: Infinity }[event.key];
    if (jump) move(within((state.cursor ?? state.selected ?? scales.right) + jump));
    else if (event.key === "Enter" && state.cursor !== null) pick?.(state.cursor);
    else if (cut && (event.key === "+" || event.key === "-")) zoom(event.key === "+" ? 0.5 : 2);
    else if (cut && event.key === "Escape" && state.range) show(null);
    else return;
    event.preventDefault();
  });
  if (pick) svg.classList.add("picks");

  const observer = new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width && width !== state.width) {
      state.width = width;
      draw();
    }
  });
  observer.observe(node);

  const made = {
    node,
    update(series, marks) {
      state.series = series;
      if (marks) state.marks = marks;
      draw();
    },
    // Another picture of the same steps, such as a smoother one: what is shown of a stretch is asked anew.
    again: () => (state.range ? show(state.range) : draw()),
    select(step) {
      state.selected = step;
      point();
    },
    close: () => observer.disconnect(),
  };
  made.update(options.series || []);
  return made;
}
