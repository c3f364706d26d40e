// View 5: one number, the cells it was made of, its arithmetic, and who used it.

import { ask, asks, go, remember } from "../lib/ask.js";
import { about, askTraced, bars, judged, where } from "../lib/asked.js";
import { addressBox } from "../lib/address.js";
import { caller } from "../lib/called.js";
import { failed } from "../lib/failed.js";
import { copies } from "../lib/copy.js";
import { button, h, put, scrolls, trouble } from "../lib/dom.js";
import { matrix } from "../lib/matrix.js";
import { formula, fraction, m, math, name, op, row, value } from "../lib/mathml.js";
import { count, digits, full, number, short, signed } from "../lib/number.js";

function render({ model, el }) {
  let state = { address: "loss", ...model.get("params") };
  let trail = [...(state.trail || [])];
  let asked = 0;
  const crumbs = h("nav", { class: "crumbs", "aria-label": "Numbers opened before" });
  const bar = h("div", {});
  const wait = h("div", {});
  const body = h("div", {});
  const title = h("h1", {}, "Cell");
  let called = caller({});
  put(el, h("div", { class: "head" }, title), bar, crumbs, wait, body);
  change({});
  return () => (asked += 1);

  async function change(changes) {
    if (asked && !asks(model)) return;
    state = { ...state, ...changes };
    const mine = ++asked;
    const params = { ...about(state), address: state.address };
    body.dataset.busy = "";
    try {
      const answer = (mine === 1 && model.get("answer")) || (await askTraced(model, "cell", params, wait));
      if (mine !== asked) return;
      state.address = answer.address;
      remember(model, { ...about(state), address: answer.address, ...(trail.length ? { trail: trail.slice(-8) } : {}) });
      show(answer);
    } catch (error) {
      if (mine !== asked) return;
      // Where the step opens, it is the address that is wrong, and another can be typed.
      const opens = bar.childElementCount || (await ask(model, "names", { ...about(state), part: "" }).then(() => true, () => false));
      if (mine !== asked) return;
      if (!opens) return failed(model, el, error, h("h1", {}, "Cell"));
      put(wait, trouble(error));
      if (!bar.childElementCount) put(bar, addressBox(model, () => about(state), state.address, visit));
    }
    delete body.dataset.busy;
    el.dataset.ready = String(mine);
  }

  function visit(address, changes) {
    if (state.address && address !== state.address) trail.push(state.address);
    change({ address, ...changes });
  }

  function show(answer) {
    put(bar, where(answer, (changed) => change(changed)), addressBox(model, () => about(state), answer.address, visit));
    called = caller(answer.words);
    put(title, `${answer.receipt.title}, ${answer.run}`);
    title.title = answer.address;
    put(crumbs, trail.slice(-8).map((each, i, all) => [button(each, () => back(trail.length - all.length + i), { class: "link" }), h("span", { class: "quiet", "aria-hidden": "true" }, " \u203a ")]), h("strong", {}, answer.address));
    const r = answer.receipt;
    put(
      body,
      h("section", { class: "panel equation" }, h("p", { class: "big" }, h("span", { class: "address", title: r.address }, r.address), " = ", h("strong", { class: "number", title: full(r.value) }, full(r.value)), h("span", { class: "quiet", title: r.operation || null }, ` ${r.quantity}, ${r.dtype}`)), equation(r), judged(r), r.notes.map((note) => h("p", { class: "quiet" }, note)), before(answer)),
      h("div", { class: "cell-columns" }, h("section", { class: "panel" }, h("h2", {}, "Where it is"), own(answer)), answer.sources.length ? h("section", { class: "panel" }, h("h2", {}, "Computed from the highlighted cells"), h("div", { class: "grid-matrices" }, answer.sources.map(source))) : null),
      r.terms.length ? h("section", { class: "panel" }, h("h2", {}, "The arithmetic"), terms(r, answer.closed), answer.within ? h("details", {}, h("summary", {}, "inside the fused operation, whose intermediate values have no address"), h("div", scrolls("Inside the fused operation"), h("pre", { class: "within" }, answer.within))) : null) : null,
      reverse(answer),
      copies(answer),
    );
  }

  function back(to) {
    const address = trail[to];
    trail = trail.slice(0, to);
    change({ address });
  }

  // The rule as symbols, the same with its numbers, and what comes of it.
  function equation(r) {
    const given = ["given", "closed box"].includes(r.verdict);
    const names = Object.entries(r.names);
    const meant = names.length ? h("p", { class: "quiet small meant" }, names.map(([symbol, name], i) => [i ? ", " : "", h("em", {}, symbol), " is ", h("span", { class: kind(name), title: name }, called.tensor(name))])) : null;
    const line = (label, ...shown) => h("div", { class: "rule-line" }, h("span", { class: "label" }, label), h("div", {}, shown));
    if (given || !r.terms.length) return h("div", { class: "formula" }, given ? h("p", {}, r.symbols) : formula(r.symbols), meant);
    return h("div", scrolls("The rule", "formula rule"), line("in symbols", formula(r.symbols), meant), line("in numbers", figures(r)), line("result", math(op("="), value(short(r.total)))));
  }

  // symbols → numbers → result
  function figures(r) {
    const shown = r.terms.slice(0, 4);
    if (r.symbols.startsWith("e^x[i] / ")) return softmax(r);
    const parts = [op("=")];
    shown.forEach((term, i) => {
      const x = number(term.value);
      const factors = product(term);
      if (i || x < 0) parts.push(op(i === 0 && x < 0 && factors.length < 2 ? "\u2212" : "+"));
      parts.push(factors.length > 1 ? row(...factors.flatMap((f, j) => (j ? [op("\u00b7"), f] : [f]))) : value(short(i || x < 0 ? Math.abs(x) : x)));
      if (factors.length < 2 && i && x < 0) parts[parts.length - 2] = op("\u2212");
    });
    if (parts[1]?.textContent === "+") parts.splice(1, 1);
    const more = r.terms.length - shown.length + r.others.count;
    if (more) parts.push(op("+"), op("\u2026"));
    return math(...parts);
  }

  // e to the own score, over the sum of e to each.
  function softmax(r) {
    const last = (address) => address.match(/([0-9]+)\](?:\.\w+)?$/)?.[1];
    const read = r.terms[0].factors.filter((f) => Number.isFinite(number(f.value)));
    const own = read.find((f) => last(f.address) === last(r.address));
    const power = (f) => m("msup", {}, name("e"), value(short(f.value)));
    if (!own) return math(op("="), op("\u2026"));
    const sum = read.slice(0, 5).flatMap((f, i) => (i ? [op("+"), power(f)] : [power(f)]));
    return math(op("="), fraction(power(own), row(...sum, ...(read.length > 5 ? [op("+"), op("\u2026")] : []))));
  }

  function product(term) {
    const numbers = coefficient(term).map((c) => value(short(c)));
    const factors = term.detail ? term.factors.filter((f) => term.detail.includes(`[${f.address}]`)) : [];
    // A factor that isn't a tensor's, such as a part's share of the loss, is the slope of the other.
    const other = !numbers.length && factors.length === 1 && term.label === "x\u00b7y" ? [value(short(factors[0].slope))] : [];
    return [...numbers, ...factors.map((f) => value(number(f.value) < 0 ? `(${short(f.value)})` : short(f.value))), ...other];
  }

  function coefficient(term) {
    const first = term.detail.split(" \u00b7 ")[0];
    return first && !first.includes("[") ? [Number(first)] : [];
  }

  function kind(name) {
    const last = name.replace(/#\d+/, "").replace(/\.local|\.grad/g, "").split(".").pop();
    return ["q", "k", "v"].includes(last) ? last : "";
  }

  function own(answer) {
    const size = (tile) => Math.max(4, Math.min(16, Math.floor(450 / Math.max(...tile.values.shape))));
    return movable(answer.matrix, (tile) => ({ size: size(tile), chosen: tile.lead === answer.place.lead ? [answer.place.row, answer.place.column] : null }));
  }

  function source(one) {
    const lit = [];
    for (let i = 0; i < one.cells.shape[0]; i++) lit.push([one.cells.data[2 * i], one.cells.data[2 * i + 1]]);
    const given = (tile) => ({ title: `${one.symbol ? one.symbol + " is " : ""}${called.tensor(tile.name)}`, lit, size: Math.max(3, Math.min(12, Math.floor(300 / Math.max(...tile.values.shape)))), labels: true });
    return h("div", {}, movable(one.matrix, given), h("p", { class: "quiet small" }, `${count(one.count)} cell${one.count === 1 ? "" : "s"} read`));
  }

  // A matrix whose cells open and whose tile moves; `given` says how a tile is drawn.
  function movable(first, given) {
    const place = h("div", {});
    let moved = 0;
    async function move(tile, r, c) {
      const mine = ++moved;
      try {
        const next = await ask(model, "matrix", { ...about(state), name: tile.name, lead: tile.lead, row: r, column: c });
        if (mine === moved) draw(next);
      } catch (error) {
        if (mine === moved) put(wait, trouble(error));
      }
    }
    const draw = (tile) => put(place, matrix(tile, { ...given(tile), pick: visit, role: kind(tile.name), move: (r, c) => move(tile, r, c) }));
    draw(first);
    return place;
  }

  function terms(r, closed) {
    const rows = r.terms.map((term) => ({ label: written(term, closed), note: term.place, value: term.value }));
    if (r.others.count) rows.push({ label: `${count(r.others.count)} other term${r.others.count === 1 ? "" : "s"}`, value: r.others.value, kind: "others" });
    if (number(r.residual) !== 0) rows.push({ label: "rounding", value: r.residual, kind: "others" });
    return bars(rows);
  }

  function written(term, closed) {
    const shown = term.detail ? term.factors.filter((f) => term.detail.includes(`[${f.address}]`)) : term.factors.filter((f) => Number.isFinite(number(f.value))).slice(0, 8);
    const parts = [...coefficient(term).map((c) => digits(c)), ...shown.map((f) => h("span", { class: "factor" }, digits(f.value), " ", closed.includes(f.address) ? h("span", { class: "address quiet", title: f.address }, called(f.address)) : button(called(f.address), () => visit(f.address), { title: f.address, class: `link address ${kind(f.address.split("[")[0])}` })))];
    if (!parts.length) return term.label;
    return h("span", { class: "written" }, term.detail ? null : h("span", { class: "quiet" }, `${term.label} of `), parts.map((part, i) => [i ? (term.detail ? " \u00b7 " : ", ") : "", part]));
  }

  function before(answer) {
    if (!answer.before) return null;
    return h("p", {}, button(`Set by the previous step: open it at step ${answer.before.step}`, () => visit(answer.before.address, { step: answer.before.step })));
  }

  function reverse(answer) {
    const used = answer.used_by.length ? h("p", {}, "Used by ", answer.used_by.slice(0, 12).map((u, i) => [i ? ", " : "", button(called(u.name), () => visit(u.name), { class: "link address", title: u.name }), h("span", { class: "quiet", title: u.operation }, ` (${u.words})`)]), answer.used_by.length > 12 ? ` and ${answer.used_by.length - 12} more` : "", ".") : null;
    if (!answer.grad) return h("section", { class: "panel" }, h("h2", {}, "Uses and gradient"), used, h("p", { class: "quiet" }, answer.no_grad));
    const rows = answer.arrivals.map((a) => ({ label: h("span", {}, h("span", { class: "quiet", title: a.operation }, a.operation === "ones_like" ? "the backward pass begins here " : `back from ${a.module || a.words} `), button(called(a.address), () => visit(a.address), { class: "link address", title: a.address })), value: a.value }));
    if (answer.arrivals.length > 1 && answer.rounding) rows.push({ label: "rounding", value: answer.rounding, kind: "others" });
    return h("section", { class: "panel" }, h("h2", {}, "Uses and gradient"), used, h("p", { class: "big" }, "\u2202loss/\u2202 = ", signed(answer.grad.value), " ", button(answer.grad.address, () => visit(answer.grad.address), { class: "link address" }), " ", h("span", { class: `badge ${answer.grad.verdict.replaceAll(" ", "-")}` }, answer.grad.verdict)), h("p", { class: "quiet" }, answer.arrivals.length > 1 ? "The gradient is the sum of what each use sends back. Addition passes a gradient through unchanged, so later uses of the same sum are listed too:" : "It was used once, and that use sends back:"), bars(rows), h("p", { class: "row" }, button("Open the gradient\u2019s receipt", () => go(model, "receipt", { ...about(state), address: answer.grad.address }))));
  }
}

export default { render };
