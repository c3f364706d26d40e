// View 2: one run as it trains: controls, curves, samples, the P(target) strip, and a way back.

import { ask, asks, command, commands, first, go, remember, subscribe } from "../lib/ask.js";
import { chart } from "../lib/chart.js";
import { copies, copyable } from "../lib/copy.js";
import { button, h, paced, put, trouble } from "../lib/dom.js";
import { failed } from "../lib/failed.js";
import { forkDialog } from "../lib/forms.js";
import { count, digits, duration, number } from "../lib/number.js";
import { points as pointsOf } from "../lib/points.js";
import { smoother } from "../lib/smoother.js";
import { strip } from "../lib/strip.js";

const MOST = 4000; // points of a curve before it is asked for anew, thinned
const DRAW = 1000 / 15; // ms between two drawings at least
const SHARE = 40; // and so many times what a drawing takes: for each page that holds a stream: all of them together
// take a fortieth of a core from the training
const FOLLOW = 10000; // ms between two measurements of the strip
const PACES = [["full speed", null], ["50 steps/s", 50], ["10 steps/s", 10], ["2 steps/s", 2], ["1 step every 2 s", 0.5]];

function render({ model, el }) {
  const { run, step } = model.get("params");
  const live = commands(model);
  const state = { points: null, frame: null, selected: step ?? null, marks: [] };
  const head = h("div", { class: "head" });
  const said = h("div", { "aria-live": "polite" });
  const facts = h("dl", { class: "facts" });
  const picked = h("div", {});
  const record = asks(model) ? pointsOf(model, run) : null;
  const pick = record ? select : undefined;
  const smooth = smoother(record, () => (draw(), loss.again()));
  const cut = (name) => record && (async (from, to) => seriesOf((await record.cut(from, to, { smoothing: smooth.weight })).curves, name));
  const loss = chart({ title: "Loss", axis: "loss, nats per token", height: 300, pick, record, cut: cut("loss") });
  const rate = chart({ title: "Learning rate", axis: "rate", height: 170, pick, record, cut: cut("rate") });
  const norm = chart({ title: "Gradient norm", axis: "norm", height: 170, pick, record, cut: cut("grad_norm"), log: true });
  const samples = h("section", { class: "panel" });
  const growth = strip(model, run, pick);
  const foot = h("div", {});
  const does = h("div", { class: "does" });
  const badge = h("span", { class: "state" });
  const bar = h("div", { class: "row", role: "group", "aria-label": "Training" });
  put(head, h("div", {}, h("h1", {}, run), h("p", { class: "quiet what" })), h("div", { class: "row" }, badge, bar));
  const differ = h("p", { class: "quiet small losses", hidden: true });
  const box = h("input", { type: "number", min: 0, "aria-label": "Step to go to", class: "step-box", placeholder: "step" });
  const reach = h("form", { class: "row tight", novalidate: true, onsubmit: (event) => (event.preventDefault(), toStep()) }, h("label", { class: "row tight quiet" }, "go to step ", box), h("button", { type: "submit", class: "small" }, "Go"));
  const curves = h("div", { class: "live-curves" }, h("div", { class: "panel" }, loss.node, differ, record ? h("div", { class: "row below" }, smooth.node, reach) : null, picked), h("div", { class: "panel" }, rate.node), h("div", { class: "panel" }, norm.node));
  const steps = [h("div", { class: "live-main" }, curves, h("div", { class: "live-side" }, growth.node, samples))];
  const counted = h("p", { class: "panel", hidden: true }, "This model counts n-grams in one pass over its text, so it has no training steps to watch or go back to.");
  put(el, head, said, facts, counted, steps, does, foot);

  const buttons = {
    play: button("Play", () => act(isRunning() ? "pause" : "play"), { class: "primary", "data-do": "play" }),
    step: button("One step", () => act("step"), { "data-do": "step" }),
    stop: button("Stop", () => act("stop"), { "data-do": "stop", title: "save and stop; you can resume later" }),
    more: button("Train longer", longer, { "data-do": "more" }),
    fork: button("Fork", () => forkDialog(model, el, run, state.selected ?? state.frame.done, state.frame.done)),
  };
  const pace = h("select", { "aria-label": "speed", "data-do": "pace", onchange: () => act("pace", { steps_per_second: PACES[pace.selectedIndex][1] }) }, PACES.map(([name]) => h("option", {}, name)));
  if (live) put(bar, buttons.play, buttons.step, pace, buttons.stop, buttons.more, buttons.fork);

  function toStep() {
    const at = Number(box.value);
    if (box.value.trim() !== "" && Number.isInteger(at) && at >= 0 && at <= state.frame.done) select(at);
    else put(picked, trouble(box.value ? `${box.value} isn't a step of this run: type 0 to ${state.frame.done}.` : `No step was typed: type 0 to ${state.frame.done}.`));
  }

  function isRunning() {
    return ["training", "starting"].includes(state.frame?.state);
  }

  async function act(name, more) {
    try {
      const done = await command(model, name, { run, ...more });
      put(said);
      put(does, h("p", { class: "label" }, "The same from Python or the shell:"), copyable(done.python, "Python"), copyable(done.shell, "Shell"));
    } catch (error) {
      put(said, trouble(error));
    }
  }

  function longer() {
    act("resume", { steps: Math.max(state.frame.steps, state.frame.done) * 2 });
  }

  // ---- what the record says ----

  function take(answer) {
    const { curves } = answer;
    const points = Object.fromEntries(["loss", "rate", "grad_norm"].map((name) => [name, { steps: [...curves[name].step.data], values: [...curves[name].value.data] }]));
    points.validation = { steps: [...curves.validation.step.data], values: [...curves.validation.value.data] };
    if (state.frame && answer.rewritten !== state.frame.rewritten) record?.forget();
    state.points = points;
    state.frame = { ...answer, step: [] };
    state.samples = answer.samples;
    counted.hidden = !answer.counted;
    for (const each of steps) each.hidden = answer.counted;
    put(el.querySelector(".what"), `${answer.model} on ${answer.text}${answer.origin ? ` · ${answer.origin}` : ""}`);
    differ.hidden = !answer.losses;
    differ.textContent = answer.losses;
    box.max = answer.done;
    draw();
    drawSamples();
    if (!foot.childElementCount) put(foot, copies(answer));
  }

  function hear(frame) {
    bar.hidden = Boolean(frame.lost);
    if (frame.lost) {
      const going = isRunning() ? "Training continues without it. " : "";
      put(said, trouble(`The studio isn't responding: ${going}This page keeps trying. If you restarted the studio, open the new address that it printed.`, button("Try again", () => location.reload(), { class: "small" })));
      return;
    }
    if (frame.whole) return take(frame.whole);
    const known = state.points.loss.steps.at(-1) ?? -1;
    if (frame.rewritten || frame.from > known + 1) return reload();
    frame.step.forEach((at, i) => {
      if (at <= known) return;
      for (const name of ["loss", "rate", "grad_norm"]) {
        state.points[name].steps.push(at);
        state.points[name].values.push(frame[name][i]);
      }
    });
    for (const each of frame.evals) {
      const { steps, values } = state.points.validation;
      if (each.step <= (steps.at(-1) ?? -1)) continue;
      steps.push(each.step);
      values.push(each.loss);
      follow();
    }
    const wrote = frame.samples.filter((each) => !state.samples.some((old) => old.step === each.step));
    if (wrote.length) {
      state.samples = [...state.samples, ...wrote].slice(-50);
      drawSamples();
    }
    const before = state.frame.state;
    state.frame = { ...state.frame, ...frame };
    put(said);
    if (state.points.loss.steps.length > MOST) reload();
    else if (before === frame.state) paint();
    else paint.soon(); // what a training ends with isn't left undrawn
    if (before !== frame.state && ["finished", "stopped"].includes(frame.state)) {
      drawSamples();
      if (!state.frame.counted) growth.refresh();
      diagnose();
    }
  }

  async function reload() {
    try {
      take(await ask(model, "live", { run }));
    } catch (error) {
      put(said, trouble(error));
    }
  }

  const paint = paced(draw, (took) => Math.max(DRAW, SHARE * took * (state.frame?.watching || 1)));
  let followed = 0;
  function follow() {
    if (Date.now() - followed < FOLLOW || document.hidden || state.frame.counted) return;
    followed = Date.now();
    growth.refresh();
  }

  // ---- drawing ----

  function draw() {
    const { frame, points } = state;
    if (!frame || document.hidden) return;
    const now = frame.state;
    badge.className = `state ${now}`;
    badge.textContent = now;
    el.dataset.state = now;
    el.dataset.step = frame.done;
    const active = ["training", "starting", "paused"].includes(now);
    const over = frame.done >= frame.steps || now === "damaged";
    buttons.play.textContent = isRunning() ? "Pause" : now === "stopped" ? "Resume" : "Play";
    buttons.play.hidden = buttons.step.hidden = over && !active;
    pace.hidden = buttons.stop.hidden = !active;
    buttons.more.hidden = active || !over || now === "damaged" || frame.counted;
    buttons.fork.hidden = !frame.done || frame.counted;
    if (frame.trouble) put(said, trouble(frame.trouble));
    const at = (name) => points[name].values.at(-1) ?? null;
    put(
      facts,
      frame.counted ? null : fact("step", [count(frame.done), h("span", { class: "quiet" }, ` of ${count(frame.steps)}`)]),
      fact("loss", digits(at("loss"))),
      fact("validation loss", digits(at("validation"))),
      fact("best bits/byte", digits(frame.best?.bits_per_byte ?? null)),
      fact("tokens/s, last 50 steps", frame.tokens_per_second === null ? "–" : count(frame.tokens_per_second)),
      frame.mean_tokens_per_second ? fact("tokens/s, all steps", count(frame.mean_tokens_per_second)) : null,
      active ? fact("time left", duration(frame.seconds_left)) : null,
    );
    smooth.follow(frame.done);
    loss.update([...lossOf(points.loss, smooth.line), { name: "validation", colour: "var(--second)", ...points.validation, dots: true, width: 2 }], state.marks);
    rate.update([{ name: "rate", of: "rate", colour: "var(--accent)", ...points.rate }]);
    norm.update([{ name: "norm", of: "grad_norm", colour: "var(--accent)", ...points.grad_norm, width: 1 }]);
  }

  function fact(name, value) {
    return h("div", {}, h("dt", {}, name), h("dd", {}, value));
  }

  // The training loss; where it is smoothed, the line of its own points stands faded behind.
  function lossOf(raw, line) {
    const own = { name: "train", of: "loss", colour: "var(--accent)", ...raw, width: 1.2, faded: Boolean(line) };
    return line ? [own, { name: `smoothed (${smooth.weight})`, colour: "var(--accent)", ...line, width: 2 }] : [own];
  }

  // The same of a stretch, from the server's answer.
  function seriesOf(curves, name) {
    const line = (each) => ({ steps: each.step.data, values: each.value.data });
    if (name !== "loss") return [{ name: { rate: "rate", grad_norm: "norm" }[name], of: name, colour: "var(--accent)", ...line(curves[name]), width: 1.2 }];
    return [...lossOf(line(curves.loss), curves.smooth && line(curves.smooth)), { name: "validation", colour: "var(--second)", ...state.points.validation, dots: true, width: 2 }];
  }

  // The doctor's findings, as far as the record shows them, stand on the curve.
  async function diagnose() {
    if (!record || state.frame.watched || state.frame.counted || !state.frame.done) return;
    const found = await ask(model, "doctor", { run }).catch(() => null);
    if (!found || gone) return;
    state.marks = found.marks.map(({ step, level, rule, verdict }) => ({ step, kind: level, text: `${rule}: ${verdict}` }));
    draw();
  }

  function drawSamples() {
    const newest = [...state.samples].reverse();
    put(samples, h("h2", {}, "What it writes"), newest.length ? h("ol", { class: "samples", tabindex: "0", "aria-label": "Samples" }, newest.map((each) => h("li", {}, h("span", { class: "label" }, `before step ${count(each.step)}`), h("pre", {}, each.text)))) : h("p", { class: "quiet" }, state.frame.state === "finished" ? "No samples were written." : "No samples yet. The model writes one from time to time while it trains."));
  }

  // ---- going back ----

  async function select(at) {
    state.selected = at;
    for (const each of [loss, rate, norm]) each.select(at);
    remember(model, { run, step: at });
    put(picked, h("p", { class: "quiet" }, "…"));
    try {
      const answer = await ask(model, "step", { run, step: at });
      if (state.selected === at) put(picked, there(answer));
    } catch (error) {
      if (state.selected === at) put(picked, trouble(error, state.frame ? button("Go to the last step", () => select(state.frame.done), { class: "small" }) : null));
    }
  }

  function there(answer) {
    const { record } = answer;
    const views = (model.get("views") || []).filter((name) => name === "prediction" || (record && ["flow", "receipt"].includes(name))); // at the end no step comes next
    return h(
      "section",
      { class: "there", "aria-label": `step ${answer.step}`, "data-step": answer.step },
      h("h2", {}, `Before step ${count(answer.step)}`),
      record ? h("p", {}, "loss ", digits(record.loss), ", learning rate ", digits(record.rate), ", gradient norm ", digits(record.grad_norm), `. Going back replays ${count(answer.replay_steps)} step${answer.replay_steps === 1 ? "" : "s"} (about ${duration(answer.replay_seconds)}) and checks each loss bit for bit.`) : h("p", {}, "The final state."),
      answer.apart ? trouble(answer.apart) : null,
      h("div", { class: "row" }, views.map((name) => button({ prediction: "Predict from here", flow: "See inside the model", receipt: "Open a weight" }[name], () => go(model, name, name === "prediction" ? { run, at: String(answer.step) } : { run, step: answer.step }), { "data-go": name })), live && !answer.apart ? button("Fork from here", () => forkDialog(model, el, run, answer.step, state.frame.done)) : null, button("Close", () => (put(picked), (state.selected = null), [loss, rate, norm].forEach((each) => each.select(null)), remember(model, { run })), { class: "small" })),
      answer.windows.length ? h("details", {}, h("summary", {}, `This step's batch: ${count(answer.batch_size)} windows`), answer.windows.map((each) => h("figure", { class: "window" }, h("figcaption", { class: "label" }, `from token ${count(each.start)}`), h("pre", {}, each.text)))) : null,
      h("div", { class: "copies" }, copyable(answer.python, "Python"), copyable(answer.shell, "Shell")),
    );
  }

  let leave = () => {};
  let gone = false;
  first(model, "live", { run })
    .then((answer) => {
      if (gone) return;
      take(answer);
      leave = subscribe(model, run, number(answer.done), hear);
      if (answer.counted) return;
      if (answer.done || answer.checkpoints.length) growth.refresh();
      diagnose();
      if (state.selected !== null && record) select(state.selected);
    })
    .catch((error) => failed(model, el, error, h("h1", {}, run)))
    .finally(() => (el.dataset.ready = ""));
  const seen = () => !document.hidden && paint();
  document.addEventListener("visibilitychange", seen);
  return () => {
    gone = true;
    leave();
    smooth.stop();
    paint.stop();
    document.removeEventListener("visibilitychange", seen);
    for (const each of [loss, rate, norm]) each.close();
  };
}

export default { render };
