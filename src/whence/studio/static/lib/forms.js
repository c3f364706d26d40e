// The two forms that begin a training: a new run, and a fork of another.

import { ask, command, go } from "./ask.js";
import { copies } from "./copy.js";
import { dialog, field, typed } from "./dialog.js";
import { button, h, paced, put, trouble } from "./dom.js";
import { count } from "./number.js";

const LARGEST = 20e6;
const NAMES = {
  "model.n_layers": "layers",
  "model.n_heads": "heads",
  "model.d_model": "width",
  "model.d_ff": "hidden units",
  "model.n_previous": "previous tokens",
  "model.context_length": "context length",
  "model.order": "order n",
  "model.smoothing": "smoothing",
  "model.k": "k (add-k)",
  steps: "steps",
  batch_size: "batch size",
  "optimizer.learning_rate": "learning rate",
  seed: "seed",
};

// `given` is a file that was dropped on the page.
export function startForm(model, given) {
  const node = h("section", { class: "panel start", "aria-label": "Train a model" }, h("p", { class: "quiet" }, "…"));
  ask(model, "form", {}).then((known) => fill(known)).catch((error) => put(node, trouble(error)));

  function fill(known) {
    const look = paced(preview_now, 250);
    const state = { source: known.sources[0].name, named: "", text: "" };
    const source = h("select", { name: "source", onchange: choose }, known.sources.map((each) => h("option", { value: each.name }, `${each.name}: ${each.about}`)), h("option", { value: "paste" }, "pasted text"), h("option", { value: "file" }, "a file on this computer"));
    const paste = h("textarea", { name: "text", "aria-label": "the text to train on", placeholder: "Paste at least a few pages. The more text, the better.", spellcheck: "false", oninput: look });
    const file = h("input", { type: "file", name: "file", accept: ".txt,.md,.csv,.tsv,.json,.py,text/*", onchange: () => readFile(file.files[0]) });
    const told = h("p", { class: "quiet" });
    const kind = h("select", { name: "model", onchange: settings }, known.models.map((each) => h("option", { value: each.name }, `${each.name}: ${each.about}`)));
    const sizes = h("div", { class: "sizes" });
    const name = h("input", { name: "out", placeholder: "chosen automatically", autocomplete: "off", spellcheck: "false", oninput: look });
    const paused = h("input", { type: "checkbox", name: "paused" });
    const preview = h("div", { "aria-live": "polite" });
    const begin = button("Start training", start, { class: "primary" });

    put(
      node,
      h("h2", {}, "Train a model"),
      h("div", { class: "start-grid" }, field("text", source), field("model", kind), field("name of the run", name)),
      h("div", { class: "given" }, paste, file, told),
      sizes,
      h("div", { class: "row" }, begin, h("label", { class: "row" }, paused, "pause before the first step")),
      preview,
    );
    node.addEventListener("input", () => (refused = ""));
    node.addEventListener("change", () => (refused = ""));
    if (given) source.value = "file";
    choose();
    settings();
    if (given) readFile(given);
    else source.focus();

    function choose() {
      state.source = source.value;
      paste.hidden = source.value !== "paste";
      file.hidden = source.value !== "file";
      told.textContent = "";
      look();
    }

    function settings() {
      const chosen = known.models.find((each) => each.name === kind.value);
      put(sizes, Object.entries(chosen.settings).map(([key, value]) => field(NAMES[key] || key, h("input", { name: key, value: String(value), "data-usual": String(value), inputmode: "decimal", size: 7, autocomplete: "off", oninput: look }))));
      look();
    }

    async function readFile(chosen) {
      state.text = "";
      if (!chosen) return;
      if (chosen.size > LARGEST) {
        put(told, trouble(`${chosen.name} has ${count(chosen.size)} bytes and the page takes at most ${count(LARGEST)}: train it with 'whence train FILE'; the run will appear here.`));
        return;
      }
      try {
        state.text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await chosen.arrayBuffer());
        state.named = chosen.name;
        told.textContent = `${chosen.name}: ${count(state.text.length)} characters`;
      } catch {
        put(told, trouble(`${chosen.name} isn't UTF-8 text: save it as UTF-8.`));
      }
      look();
    }

    function asked() {
      const own = state.source === "paste" || state.source === "file";
      const changed = {};
      for (const input of sizes.querySelectorAll("input")) if (input.value.trim() !== input.dataset.usual) changed[input.name] = typed(input.value);
      return { source: own ? "text" : state.source, named: state.source === "file" ? state.named : "", model: kind.value, settings: changed, out: name.value.trim() };
    }

    let refused = ""; // what couldn't be started: a preview of the same doesn't draw over the reason
    async function start() {
      begin.disabled = true;
      refused = JSON.stringify(asked());
      const text = state.source === "paste" ? paste.value : state.source === "file" ? state.text : null;
      try {
        const done = await command(model, "start", { ...asked(), text, paused: paused.checked });
        go(model, "live", { run: done.run });
      } catch (error) {
        put(preview, trouble(error));
      } finally {
        begin.disabled = false;
      }
    }

    async function preview_now() {
      const wanted = asked();
      const same = () => JSON.stringify(wanted) === JSON.stringify(asked()) && JSON.stringify(wanted) !== refused;
      if (!same()) return;
      try {
        const answer = await ask(model, "recipe", wanted);
        if (!same()) return;
        const [few] = Object.entries(answer.parameters_by_vocabulary);
        put(preview, h("p", { class: "quiet" }, [`run ${answer.name}`, few[1] ? ` · ${count(few[1])} parameters if the text has ${few[0]} distinct tokens` : ""]), copies(answer));
        name.placeholder = answer.name;
        begin.disabled = false;
      } catch (error) {
        if (!same()) return;
        put(preview, trouble(error));
        begin.disabled = true;
      }
    }
    look();
  }
  return node;
}

export function forkDialog(model, el, run, step, most) {
  const at = h("input", { name: "step", type: "number", min: 0, max: most, value: String(step), required: true });
  const name = h("input", { name: "out", placeholder: `${run}-fork-1`, autocomplete: "off", spellcheck: "false" });
  const changes = h("textarea", { name: "changes", rows: 3, spellcheck: "false", placeholder: "optimizer.learning_rate = 0.001\nsteps = 2000" });
  dialog(el, {
    title: `Fork ${run}`,
    label: "Fork and train",
    body: [h("p", { class: "quiet" }, "The new run shares this run's history up to the step you choose, then trains with its own settings."), h("div", { class: "start-grid" }, field("at step", at), field("name of the new run", name)), field("changed settings, one per line", changes)],
    async act() {
      const pairs = {};
      for (const line of changes.value.split("\n").filter((each) => each.trim())) {
        const [key, value] = line.split(/=(.*)/s);
        if (value === undefined) throw new Error(`"${line}" isn't a setting: write FIELD = VALUE.`);
        pairs[key.trim()] = typed(value);
      }
      const done = await command(model, "fork", { run, step: Number(at.value), out: name.value.trim(), changes: pairs });
      go(model, "live", { run: done.run });
    },
  });
}
