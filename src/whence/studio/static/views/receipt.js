// View 6: the receipt of a weight at a step, down to the text it came from.

import { ask, asks, go, remember } from "../lib/ask.js";
import { addressBox } from "../lib/address.js";
import { about, askTraced, bars, judged, lossOf, where } from "../lib/asked.js";
import { failed } from "../lib/failed.js";
import { copies, copyable } from "../lib/copy.js";
import { button, h, put, trouble } from "../lib/dom.js";
import { fraction, hat, math, name, op, root, row } from "../lib/mathml.js";
import { count, digits, full, number, short, signed, sum } from "../lib/number.js";
import { trimmed } from "../lib/terms.js";

const WORDS = { token: "by token", position: "by position", example: "by example", where: "by line of text", head: "by head", module: "by module", path: "by path" };

function render({ model, el }) {
  let state = { address: "", by: "token", ...model.get("params") };
  let asked = 0;
  const bar = h("div", {});
  const wait = h("div", {});
  const body = h("div", {});
  const title = h("h1", {}, "Receipt");
  put(el, h("div", { class: "head" }, title), bar, wait, body);
  change({});
  return () => (asked += 1);

  async function change(changes) {
    if (asked && !asks(model)) return;
    state = { ...state, ...changes };
    const mine = ++asked;
    const params = { ...about(state), ...(state.address ? { address: state.address } : {}) };
    body.dataset.busy = "";
    try {
      const answer = (mine === 1 && model.get("answer")) || (await askTraced(model, "receipt", params, wait));
      if (mine !== asked) return;
      state.address = answer.address;
      keep();
      show(answer);
    } catch (error) {
      if (mine !== asked) return;
      // Where the step opens, it is the address that is wrong, and another can be typed.
      const opens = bar.childElementCount || (await ask(model, "names", { ...about(state), part: "" }).then(() => true, () => false));
      if (mine !== asked) return;
      if (!opens) return failed(model, el, error, h("h1", {}, "Receipt"));
      put(wait, trouble(error));
      if (!bar.childElementCount) put(bar, addressBox(model, () => about(state), state.address, (address) => change({ address })));
    }
    delete body.dataset.busy;
    el.dataset.ready = String(mine);
  }

  function keep() {
    remember(model, { ...about(state), address: state.address, ...(state.by === "token" ? {} : { by: state.by }) });
  }

  function cell(address) {
    go(model, "cell", { ...about(state), address });
  }

  function link(address) {
    return button(address, () => cell(address), { class: "link address" });
  }

  function show(answer) {
    put(bar, where(answer, change), addressBox(model, () => about(state), answer.address, (address) => change({ address })), h("p", { class: "quiet" }, lossOf(answer)));
    const share = h("div", {});
    put(title, `${answer.receipt.title}, ${answer.run}`);
    title.title = answer.receipt.address;
    put(body, answer.receipt.sentence ? h("p", { class: "said sentence" }, trimmed(answer.receipt.sentence)) : null, answer.head ? head(answer) : plain(answer), lines(answer), h("section", { class: "panel" }, h("div", { class: "head" }, h("h2", {}, "Attribution"), ways(answer, share)), share), copies(answer));
    groups(answer, share);
  }

  // old + change = new
  function head(answer) {
    const { old, change: moved, new: after } = answer.head;
    const shown = sum(old, moved, after);
    const apart = [shown.after.slice(0, shown.at), h("strong", { class: "changed" }, shown.after.slice(shown.at))];
    const box = (label, x, digits, address, kind) => h("div", { class: `sum-part ${kind || ""}` }, h("span", { class: "label" }, label), h("span", { class: "number sum-number", title: full(x) }, digits), link(address));
    return h("section", { class: "panel" }, h("div", { class: "sum" }, box("old", old, shown.old, answer.head.weight), h("span", { class: "sum-op" }, "+"), box(`change in step ${answer.step}`, moved, signed(moved, shown.change), answer.target, "moved"), h("span", { class: "sum-op" }, "="), box("new", after, apart, answer.head.after)), answer.head.rule ? h("div", { class: "formula scroll" }, rule(answer.head.rule)) : null, written(answer.receipt), memory(answer.head.memory));
  }

  // The rule as symbols, numbers, result; raw names and every digit on hover.
  function written(r) {
    if (!r.numbers || !r.symbols.startsWith("\u2212\u03b7")) return null;
    const known = Object.entries(r.names).map(([symbol, x]) => `${symbol} = ${short(Number(x))}`).join(", ");
    return h("p", { class: "formula written" }, `change = ${r.symbols} = `, h("span", { title: r.numbers }, trimmed(r.numbers)), " = ", h("strong", { title: full(r.value) }, short(r.value)), h("br", {}), h("span", { class: "quiet small" }, known));
  }

  function plain(answer) {
    return h("section", { class: "panel" }, h("p", { class: "big" }, link(answer.target), " = ", h("strong", { class: "number" }, full(answer.receipt.value))));
  }

  function rule(kind) {
    if (kind === "adam") return math(name("new"), op("="), name("old"), op("\u2212"), name("rate"), op("\u00b7"), fraction(hat("m"), row(root(hat("v")), op("+"), name("\u03b5"))), op("\u2212"), name("rate"), op("\u00b7"), name("decay"), op("\u00b7"), name("old"));
    if (kind === "muon") return math(name("new"), op("="), name("old"), op("\u2212"), name("rate"), op("\u00b7"), name("orthogonal"), op("("), name("momentum"), op("\u00b7"), name("past"), op("+"), name("gradient"), op(")"), op("\u2212"), name("rate"), op("\u00b7"), name("decay"), op("\u00b7"), name("old"));
    if (kind !== "sgd") return null; // one of the user's own: nothing is claimed
    return math(name("new"), op("="), name("old"), op("\u2212"), name("rate"), op("\u00b7"), op("("), name("momentum"), op("\u00b7"), name("past"), op("+"), name("gradient"), op("+"), name("decay"), op("\u00b7"), name("old"), op(")"));
  }

  function memory(rows) {
    if (!rows.length) return null;
    return h("details", { class: "behind" }, h("summary", {}, "optimizer state of this weight"), h("table", {}, h("thead", {}, h("tr", {}, ["number", "before", "after"].map((t) => h("th", { scope: "col" }, t)))), h("tbody", {}, rows.map((r) => h("tr", {}, h("th", { scope: "row" }, link(r.address)), h("td", { class: "n" }, digits(r.before)), h("td", { class: "n" }, digits(r.after)))))));
  }

  // The kinds of terms, and what rounding left over.
  function lines(answer) {
    const rows = answer.lines.map((line) => ({ label: h("span", {}, h("span", {}, line.symbol), line.address ? [" with ", link(line.address), " = ", digits(line.factor)] : h("span", { class: "quiet" }, ` ${count(line.terms)} terms`)), value: line.value }));
    rows.push({ label: "rounding", value: answer.receipt.residual, kind: "others" });
    return h("section", { class: "panel" }, h("h2", {}, answer.head ? "Terms of the change" : "Terms"), bars(rows), judged(answer.receipt), answer.receipt.notes.map((note) => h("p", { class: "quiet small" }, note)));
  }

  function ways(answer, share) {
    const select = h("select", { "aria-label": "Group", onchange: () => {
      state.by = select.value;
      keep();
      groups(answer, share);
    } }, answer.ways.map((way) => h("option", { value: way }, WORDS[way])));
    if (!answer.ways.includes(state.by)) state.by = answer.ways[0];
    select.value = state.by;
    return select;
  }

  async function groups(answer, share) {
    const mine = state.by;
    const slow = mine === "path" ? "Following the paths back to the loss\u2026" : "Adding up\u2026";
    put(share, h("p", { class: "waiting", role: "status" }, h("span", { class: "pulse", "aria-hidden": "true" }), slow));
    delete share.dataset.ready;
    try {
      const found = await ask(model, "attribution", { ...about(state), address: answer.target, by: mine });
      if (mine !== state.by || !share.isConnected) return;
      const opened = h("div", { class: "opened" });
      const rows = found.shares.map((each) => ({ label: each.words ? h("span", { title: each.label }, each.words) : each.label, note: each.terms > 1 ? ` ${count(each.terms)} terms` : "", value: each.value, open: each.opens ? () => go(model, "cell", { ...about(state), ...each.opens }) : mine === "token" && /^['"]/.test(each.label) ? () => token(answer, each, opened) : undefined }));
      if (found.others.count) rows.push({ label: `${count(found.others.count)} other${found.others.count === 1 ? "" : "s"}`, value: found.others.value, kind: "others" });
      rows.push({ label: "rounding", value: found.rounding, kind: "others" });
      put(share, mine === "token" ? h("p", { class: "quiet small" }, "Click a token to see where it occurs.") : null, bars(rows), opened, found.notes.map((note) => h("p", { class: "quiet small" }, note)), copyable(found.shell, "Shell"));
    } catch (error) {
      if (mine === state.by) put(share, trouble(error));
    }
    share.dataset.ready = "";
  }

  // Where a token stood, each place with the line of text it stands in.
  async function token(answer, each, opened) {
    const mine = (opened.dataset.token = each.label);
    put(opened, h("p", { class: "waiting", role: "status" }, "Finding its occurrences\u2026"));
    const params = { ...about(state), address: answer.target, token: each.label };
    try {
      const found = await ask(model, "places", params);
      if (mine !== opened.dataset.token) return;
      const most = Math.max(...found.places.map((p) => Math.abs(number(p.value))), 1e-300);
      put(opened, h("h3", {}, `${each.label} occurs in ${count(found.places.length + found.others.count)} place${found.places.length + found.others.count === 1 ? "" : "s"}. In total: `, signed(each.value)), h("ul", { class: "places" }, found.places.map((place, i) => one(params, place, i, most))), found.others.count ? h("p", { class: "quiet" }, `${count(found.others.count)} more places, in total `, signed(found.others.value)) : null);
    } catch (error) {
      if (mine !== opened.dataset.token) return;
      put(opened, trouble(error));
    }
    opened.dataset.ready = "";
    opened.scrollIntoView({ block: "nearest" });
  }

  function one(params, place, i) {
    const split = h("div", {});
    const path = button("paths", () => follow(params, i, split), { class: "small", title: "the modules that its gradient came back through" });
    return h("li", {}, h("span", { class: "place-value" }, signed(place.value)), h("span", { class: "place-text" }, marked(place.where), h("span", { class: "quiet small" }, ` example ${place.example}, position ${place.position}`)), path, split);
  }

  async function follow(params, i, split) {
    put(split, h("p", { class: "waiting", role: "status" }, h("span", { class: "pulse", "aria-hidden": "true" }), "Following it back to the loss\u2026"));
    try {
      const found = await ask(model, "places", { ...params, path_of: i });
      put(split, bars(found.paths.map((each) => ({ label: each.label, value: each.value }))));
    } catch (error) {
      put(split, trouble(error));
    }
  }

  // `line 812 of mine: …on the ⟨m⟩at and…`, the token marked.
  function marked(text) {
    const [, before, inside, after] = text.match(/^(.*?)\u27e8(.*?)\u27e9(.*)$/su) || [null, text, "", ""];
    return h("span", { class: "line" }, before, inside ? h("mark", {}, inside) : null, after);
  }
}

export default { render };
