// View 3: what could come next, from logits to the token that is drawn.

import { ask, asks, go, remember } from "../lib/ask.js";
import { failed } from "../lib/failed.js";
import { copies } from "../lib/copy.js";
import { button, h, put, scrolls, trouble } from "../lib/dom.js";
import { visible } from "../lib/matrix.js";
import { count, digits, full, number, probability, short, signed } from "../lib/number.js";

const FILTERS = { temperature: "temperature 0 keeps one", top_k: "top-k", top_p: "top-p", min_p: "min-p" };
const USUAL = { prompt: "", at: "best", temperature: 1, top_k: null, top_p: null, min_p: null, seed: 0, written: 0, position: null, top: 20 };

function render({ model, el }) {
  let state = { ...USUAL, ...model.get("params") };
  state.at = String(state.at);
  let asked = 0;
  let timer = null;
  const prompt = h("textarea", { rows: 2, "aria-label": "Prompt", value: state.prompt, placeholder: "type the beginning of a text", oninput: () => later({ prompt: prompt.value, written: 0, position: null }) });
  const at = h("select", { "aria-label": "Checkpoint", onchange: () => change({ at: at.value }) });
  const chips = h("div", { class: "chips", role: "group", "aria-label": "Tokens" });
  const controls = h("div", { class: "panel controls" });
  const body = h("div", { class: "answer" });
  const said = h("div", { "aria-live": "polite" });
  put(
    el,
    h("div", { class: "head" }, h("h1", {}, "Prediction"), h("label", { class: "row tight quiet" }, "weights at ", at)),
    h("div", { class: "panel" }, prompt, h("p", { class: "quiet small convention" }, "P(token | prompt): the model reads exactly this text. An empty prompt counts as a line break."), h("p", { class: "label chips-label" }, "The prompt as tokens. Click one to see what the model expected next."), chips),
    controls,
    said,
    body,
  );
  knobs();
  change({}, true);

  function later(changes) {
    state = { ...state, ...changes };
    clearTimeout(timer);
    timer = setTimeout(() => change({}), 150);
  }

  async function change(changes) {
    if (asked && !asks(model)) return;
    state = { ...state, ...changes };
    const mine = ++asked;
    const params = { run: state.run };
    for (const [key, usual] of Object.entries(USUAL)) if (state[key] !== usual) params[key] = state[key];
    remember(model, params);
    const wait = setTimeout(() => put(said, h("p", { class: "waiting", role: "status" }, h("span", { class: "pulse", "aria-hidden": "true" }), `Loading the weights at ${named(state.at)}. Steps without a checkpoint are replayed\u2026`)), 500);
    try {
      const baked = mine === 1 && model.get("answer");
      const answer = baked || (await ask(model, "prediction", params));
      if (mine !== asked) return;
      put(said, answer.noted ? h("p", { class: "quiet" }, answer.noted) : null);
      show(answer);
    } catch (error) {
      if (mine !== asked) return;
      if (!body.childElementCount) return failed(model, el, error, h("h1", {}, "Prediction"));
      put(said, trouble(error));
    } finally {
      clearTimeout(wait);
    }
    el.dataset.ready = String(mine);
  }

  function knobs() {
    const slider = (key, label, { min, max, step, off, hint }) => {
      const shown = h("output", { class: "number" });
      const name = (x) => (x === null ? "off" : String(x));
      const input = h("input", { type: "range", min, max, step, value: state[key] ?? off, "aria-label": label, oninput: () => {
        const x = Number(input.value);
        const given = off !== undefined && x === off ? null : x;
        shown.textContent = name(given);
        later({ [key]: given });
      } });
      shown.textContent = name(state[key]);
      return h("label", { class: "field knob", title: hint }, h("span", { class: "knob-head" }, label, shown), input);
    };
    const seed = h("input", { type: "number", min: 0, value: state.seed, "aria-label": "Seed", class: "seed", onchange: () => change({ seed: Math.max(0, Math.floor(Number(seed.value) || 0)) }) });
    put(
      controls,
      slider("temperature", "temperature", { min: 0, max: 2, step: 0.05, hint: "the logits are divided by it; 0 always takes the most likely token" }),
      slider("top_k", "top-k", { min: 0, max: 50, step: 1, off: 0, hint: "keep the k most likely tokens" }),
      slider("top_p", "top-p", { min: 0.05, max: 1, step: 0.05, off: 1, hint: "keep the fewest tokens whose probabilities add up to p" }),
      slider("min_p", "min-p", { min: 0, max: 0.5, step: 0.01, off: 0, hint: "drop tokens less likely than this fraction of the most likely one" }),
      h("label", { class: "field knob" }, h("span", {}, "random seed"), seed),
      h("div", { class: "row tight knob write" }, button("Generate", () => change({ written: state.written + 1, position: null }), { class: "primary", title: "append the token that was drawn" }), button("Back", () => change({ written: Math.max(0, state.written - 1), position: null }), { title: "remove the last generated token" })),
    );
  }

  function show(answer) {
    const known = ["best", "last", ...answer.checkpoints.map(String)];
    const each = known.includes(state.at) ? known : [...known, state.at];
    if (at.childElementCount !== each.length) put(at, each.map((name) => h("option", { value: name }, named(name))));
    at.value = state.at;
    const end = answer.read === answer.tokens.length;
    put(
      chips,
      answer.tokens.map((token, i) =>
        h("button", { type: "button", class: `chip${token.written ? " written" : ""}${i + 1 === answer.read ? " here" : ""}${i >= answer.read ? " later" : ""}`, title: `token ${token.id}, place ${i}`, "aria-label": `token ${visible(token.text)}, id ${token.id}`, "aria-pressed": String(i + 1 === answer.read), onclick: () => change({ position: i + 1 === answer.tokens.length ? null : i + 1 }) }, visible(token.text)),
      ),
      end ? h("span", { class: "chip next", title: `drawn with seed ${answer.sampling.seed}` }, visible(answer.drawn)) : null,
    );
    put(body, heading(answer), table(answer), links(answer), copies(answer));
  }

  function named(name) {
    return name === "best" || name === "last" ? name : `step ${count(Number(name))}`;
  }

  function heading(answer) {
    const taught = answer.target !== null;
    const words = taught
      ? ["In training the target here is ", h("strong", {}, `\u2018${visible(answer.rows.find((r) => r.id === answer.target).token)}\u2019`), `. Its surprise, \u2212ln P(target), is `, digits(answer.surprise), "."]
      : [`${count(answer.kept)} of ${count(answer.vocabulary)} tokens remain after filtering; seed ${answer.sampling.seed} draws `, h("strong", {}, `\u2018${visible(answer.drawn)}\u2019`), "."];
    return h("p", { class: "says" }, words);
  }

  function table(answer) {
    const taught = answer.target !== null;
    const tempered = answer.sampling.temperature !== 1 && answer.sampling.temperature !== 0;
    const most = Math.max(...answer.rows.map((r) => Math.max(r.before, r.after, r.p)));
    const head = [["token", ""], ["logit", "n"], ["P(token)", "n", "softmax of the logits: what the model says"], ["\u00f7 temperature", "n"], ["exp", "n", "exp(scaled logit \u2212 the largest scaled logit)"], [tempered ? `P at temperature ${answer.sampling.temperature}` : "P before filters", "n", "exp / the sum of all exp"], ["kept", ""], ["P of the draw", "n", "the tokens kept, rescaled to add up to 1: the probability of being drawn, not P(token)"], ["", ""]];
    if (taught) head.push(["y", "n", "1 for the target"], ["p \u2212 y", "n", "derivative of the surprise by this logit"]);
    const rest = answer.others;
    return h(
      "div",
      scrolls("Probabilities of the next token"),
      h("table", { class: "wide predictions" }, h("thead", {}, h("tr", {}, head.map(([label, kind, hint]) => h("th", { scope: "col", class: kind || null, title: hint || null }, label || h("span", { class: "hidden" }, "as a bar"))))), h("tbody", {}, answer.rows.map((r) => line(r, answer, most, taught)), rest.count ? h("tr", { class: "others" }, h("th", { scope: "row" }, `${count(rest.count)} others`), h("td"), chance(rest.p), h("td"), h("td"), chance(rest.before), h("td"), chance(rest.after), h("td"), taught ? [h("td"), h("td")] : null) : null)),
      rest.count ? button("Show more tokens", () => change({ top: Math.min(500, state.top * 2) }), { class: "small" }) : null,
    );
  }

  function line(r, answer, most, taught) {
    const bar = h("span", { class: "p-bar", "aria-hidden": "true" }, h("span", { class: "p-before", style: { width: `${(100 * r.before) / most}%` } }), h("span", { class: "p-after", style: { width: `${(100 * r.after) / most}%` } }));
    return h(
      "tr",
      { class: `${r.drawn && !taught ? "drawn" : ""}${r.dropped_by ? " dropped" : ""}${r.id === answer.target ? " target" : ""}`, "data-token": r.id },
      h("th", { scope: "row" }, h("span", { class: "token", title: `token ${r.id}` }, visible(r.token)), r.drawn && !taught ? h("span", { class: "flag", title: `by seed ${answer.sampling.seed}` }, "drawn") : null, r.id === answer.target ? h("span", { class: "flag" }, "target") : null),
      h("td", { class: "n" }, digits(r.logit)),
      chance(r.p),
      h("td", { class: "n" }, digits(r.scaled)),
      h("td", { class: "n" }, digits(r.exp)),
      chance(r.before),
      h("td", {}, r.dropped_by ? h("span", { class: "quiet" }, `\u2717 ${FILTERS[r.dropped_by]}`) : h("span", { class: "good" }, "\u2713")),
      chance(r.after),
      h("td", { class: "bar-cell" }, bar),
      taught ? [h("td", { class: "n" }, short(r.y)), h("td", { class: "n" }, signed(r.error))] : null,
    );
  }

  function chance(p) {
    return h("td", { class: "n" }, h("span", { class: "number", title: full(number(p)) }, probability(p)));
  }

  function links(answer) {
    if (answer.trace_text.length < 2) return null;
    const where = { run: answer.run, step: answer.step, text: answer.trace_text };
    return h("p", { class: "row" }, button("Watch it flow through the model", () => go(model, "flow", { ...where, text: answer.flow_text })), button("Open the logit", () => go(model, "cell", { ...where, address: `${answer.pairs ? "output" : "logits"}[0,${answer.read - 1},${answer.target ?? answer.drawn_id}]` })));
  }

  return () => clearTimeout(timer);
}

export default { render };
