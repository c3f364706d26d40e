// The P(target) strip: a row for each token of a sentence, a column for each checkpoint.

import { ask } from "./ask.js";
import { copies } from "./copy.js";
import { button, h, printable, put, scrolls, trouble } from "./dom.js";
import { count, full, probability } from "./number.js";

// `pick(step)` is called where a column is chosen. Returns { node, refresh }.
export function strip(model, run, pick) {
  const input = h("input", { name: "sentence", size: 30, autocomplete: "off", spellcheck: "false", "aria-label": "the sentence to follow", placeholder: "a sentence to follow" });
  const place = h("div", { class: "strip-place" });
  const form = h("form", { class: "row", onsubmit: (event) => (event.preventDefault(), refresh()) }, input, button("Follow", refresh, { class: "small" }));
  const node = h("section", { class: "panel" }, h("h2", {}, "Probability of each token during training"), form, place);
  let text = "";
  let asked = 0;

  // Of several questions only the latest answer is drawn.
  async function refresh() {
    text = input.value || text;
    const mine = ++asked;
    place.dataset.busy = "";
    try {
      const answer = await ask(model, "strip", { run, text });
      if (mine !== asked) return;
      if (!input.value) input.value = answer.given;
      text = answer.given;
      put(place, draw(answer, pick), h("p", { class: "quiet small" }, `P(token | the text before it) in the state before each step, the same number that Prediction shows for that prompt. The first token follows an empty prompt, which counts as ${named(answer.before)}.${answer.left_out ? ` The last ${answer.left_out} tokens don't fit in the context window.` : ""}${pick ? " Click a cell to go back to that step." : ""}`), copies(answer));
      node.dataset.ready = "";
    } catch (error) {
      if (mine !== asked) return;
      put(place, trouble(error));
    }
    delete place.dataset.busy;
  }
  return { node, refresh };
}

function named(token) {
  return token === "\n" || token === "\\n" ? "a line break" : `\u2018${token}\u2019`;
}

function draw(answer, pick) {
  const steps = answer.step.data;
  const values = answer.probability.data;
  const columns = steps.length;
  const cells = [];
  const head = h("tr", {}, h("th", { scope: "col" }, "token"), [...steps].map((step, j) => h("th", { scope: "col", class: j % Math.ceil(columns / 8) && j !== columns - 1 ? "thin" : "" }, h("span", {}, count(step)))), h("th", { scope: "col", class: "n" }, "final P"));
  const said = h("p", { class: "quiet small said", "aria-live": "polite" }, "\u00a0");

  function focus(i, j) {
    const cell = cells[Math.max(0, Math.min(answer.tokens.length - 1, i))][Math.max(0, Math.min(columns - 1, j))];
    for (const row of cells) for (const each of row) each.tabIndex = -1;
    cell.tabIndex = 0;
    cell.focus();
  }
  const tell = (i, j) => (said.textContent = printable(`before step ${count(steps[j])}: P(${JSON.stringify(answer.tokens[i])}) = ${full(values[i + j * answer.tokens.length])}`));

  const rows = answer.tokens.map((token, i) => {
    cells.push(
      [...steps].map((step, j) => {
        const p = values[j * answer.tokens.length + i];
        return h("td", {
          class: "p",
          tabindex: i === 0 && j === columns - 1 ? 0 : -1,
          role: pick ? "button" : null,
          "aria-label": `step ${step}, ${token}: ${probability(p)}`,
          title: `step ${count(step)}: P = ${full(p)}`,
          style: { "--p": `${(p * 100).toFixed(2)}%` },
          onfocus: () => tell(i, j),
          onpointerenter: () => tell(i, j),
          onclick: () => pick?.(step),
          onkeydown(event) {
            const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -columns], End: [0, columns] }[event.key];
            if (move) focus(i + move[0], j + move[1]);
            else if (event.key === "Enter" || event.key === " ") pick?.(step);
            else return;
            event.preventDefault();
          },
        });
      }),
    );
    const last = values[(columns - 1) * answer.tokens.length + i];
    return h("tr", {}, h("th", { scope: "row" }, h("code", {}, token === " " ? "\u2423" : token)), cells[i], h("td", { class: "n", title: full(last) }, probability(last)));
  });
  return [said, h("div", scrolls("Probability of each token by step"), h("table", { class: "strip", style: { width: `min(100%, ${columns * 3 + 12}rem)` } }, h("thead", {}, head), h("tbody", {}, rows)))];
}
