// The right end of the flow: what the next token is drawn from, and writing on token by token.

import { ask } from "./ask.js";
import { button, h, put } from "./dom.js";
import { visible } from "./matrix.js";
import { digits, probability } from "./number.js";

const SHOWN = 8;
const PAUSE = 250; // ms between two tokens that are written

// `read(text)` lets the flow read another text and resolves when it is drawn. The node stays, and
// `update(answer)` follows the flow: { node, update, stop }.
export function writing(model, run, read) {
  const list = h("ol", { class: "next-list" });
  const said = h("p", { class: "quiet small", role: "status" });
  const heat = h("span", { class: "number" }, "1");
  const slider = h("input", { type: "range", min: 0, max: 2, step: 0.05, value: 1, "aria-label": "Temperature", oninput: () => ((heat.textContent = slider.value), look()) });
  const seed = h("input", { type: "number", min: 0, value: 0, "aria-label": "Seed of the draws", onchange: () => look() });
  const one = button("Generate token", () => write(), { class: "primary" });
  const on = button("Keep going", () => (running ? stop() : go()), { "aria-pressed": "false" });
  const back = button("Back", () => undo(), { title: "remove the last generated token" });
  const node = h("section", { class: "flow-write", "aria-label": "The next token", hidden: true }, h("h2", {}, "The next token"), list, h("label", { class: "field" }, h("span", { class: "knob-head" }, "temperature", heat), slider), h("label", { class: "field" }, h("span", {}, "seed"), seed), h("div", { class: "row tight" }, one, on, back), said);
  let [base, written, now, running, asked, step, window_] = ["", 0, null, false, 0, 0, 0];
  let ours = null; // the text that was written here last: any other begins anew

  async function look() {
    const mine = ++asked;
    try {
      const found = await ask(model, "prediction", { run, prompt: base, written, at: step, temperature: Number(slider.value), seed: Math.max(0, Math.floor(Number(seed.value)) || 0), top: SHOWN });
      if (mine !== asked) return null;
      now = found;
      draw();
      return found;
    } catch (error) {
      if (mine === asked) put(said, error.message);
      stop();
      return null;
    }
  }

  function draw() {
    const most = Math.max(...now.rows.map((row) => row.after), 1e-9);
    put(
      list,
      now.rows.slice(0, SHOWN).map((row) => h("li", { class: row.id === now.drawn_id ? "drawn" : null }, h("span", { class: "next-token" }, visible(row.token)), h("span", { class: "next-bar", "aria-hidden": "true" }, h("i", { style: { width: `${(100 * row.after) / most}%` } })), digits(row.after, probability(row.after)), h("span", { class: "next-drawn" }, row.id === now.drawn_id ? "drawn" : ""))),
      now.rows.some((row) => row.id === now.drawn_id) ? null : h("li", { class: "drawn" }, h("span", { class: "next-token" }, visible(now.drawn)), h("span", {}), h("span", {}), h("span", { class: "next-drawn" }, "drawn")),
    );
    const full = now.tokens.length >= window_;
    one.disabled = on.disabled = full;
    back.disabled = written === 0;
    put(said, full ? `The context window is full: it holds ${window_} tokens.` : written ? `${written} token${written === 1 ? "" : "s"} generated` : "");
    if (full) stop();
    node.dataset.written = written;
  }

  async function write() {
    if (!now || one.disabled) return;
    written += 1;
    const found = await look();
    if (!found) return;
    ours = found.text;
    await read(found.text);
  }

  async function undo() {
    stop();
    if (!written) return;
    written -= 1;
    const found = await look();
    if (found) await read((ours = found.text));
  }

  async function go() {
    running = true;
    on.setAttribute("aria-pressed", "true");
    put(on, "Pause");
    while (running && node.isConnected) {
      await write();
      await new Promise((done) => setTimeout(done, PAUSE));
    }
    stop();
  }

  function stop() {
    running = false;
    on.setAttribute("aria-pressed", "false");
    put(on, "Keep going");
  }

  function update(answer) {
    node.hidden = !answer.text || !answer.predictions.length;
    if (node.hidden) return stop();
    const same = answer.text === ours && answer.step === step;
    [step, window_] = [answer.step, Math.min(answer.window, 64)];
    if (same) return;
    stop();
    [base, written, ours] = [answer.text, 0, answer.text];
    look();
  }

  return { node, update, stop };
}
