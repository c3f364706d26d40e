// Talking to a model: each token of an answer shows what else it could have been, and opens.

import { ask, asks, remember } from "../lib/ask.js";
import { bars } from "../lib/asked.js";
import { copies } from "../lib/copy.js";
import { button, h, printable, put, trouble } from "../lib/dom.js";
import { failed } from "../lib/failed.js";
import { visible } from "../lib/matrix.js";
import { count, digits, probability } from "../lib/number.js";

const ENDS = { stop: "", length: "stopped at the token limit", stopped: "stopped" };

function render({ model, el }) {
  const given = model.get("params") || {};
  const run = given.run;
  const settings = Object.fromEntries(["temperature", "top_p", "seed", "max_tokens"].filter((key) => given[key] !== undefined).map((key) => [key, given[key]]));
  let turns = []; // {role, content, tokens, asked}: `asked` is the question that wrote an answer
  let [template, writing, stopping, opened] = [true, false, false, 0];

  const log = h("div", { class: "talk", role: "log", "aria-label": "Conversation", "aria-live": "off" });
  const tip = h("div", { class: "panel talk-tip", role: "tooltip", id: "talk-tip", hidden: true });
  const told = h("div", { "aria-live": "polite" });
  const status = h("p", { class: "hidden", role: "status" });
  const box = h("textarea", { rows: 2, "aria-label": "Your message", onkeydown: (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  } });
  const go = button("Send", () => (writing ? stop() : send()), { class: "primary" });
  const anew = button("Start over", () => reset());
  const said = h("div", {});
  const about = h("p", { class: "quiet" });
  const footer = h("div", {});
  const knobs = h("div", { class: "row talk-knobs" });
  put(el, h("div", { class: "head" }, h("h1", {}, "Chat")), about, h("div", { class: "talk-place" }, log, tip), h("div", { class: "panel talk-box" }, box, h("div", { class: "row" }, go, anew), knobs), status, said, told, footer);
  put(about, "Opening the model \u2026");
  [box, go, anew].forEach((each) => (each.disabled = true)); // until it is known how it is talked to
  begin();

  async function begin() {
    try {
      const answer = model.get("answer") || (await ask(model, "chat", { run, ...settings }));
      template = answer.template;
      for (const key of ["temperature", "seed", "max_tokens"]) settings[key] = answer[key];
      const point = "Hover over a token to see its alternatives; click it, or press Enter, to see which layers, heads and words made it likely. The heavier the underline, the less likely the token was.";
      put(about, template ? `Each turn is written with the model’s own chat template. ${point}` : `This model has no chat template. It wasn’t trained to chat, so it continues your text. ${point}`);
      box.placeholder = template ? "type a message" : "type the beginning of a text";
      knob("temperature", "temperature", { min: 0, max: 2, step: 0.05 });
      knob("seed", "random seed", { min: 0, step: 1 });
      knob("max_tokens", "max tokens per answer", { min: 1, max: 2000, step: 1 });
      put(footer, copies(answer));
      [box, go, anew].forEach((each) => (each.disabled = !asks(model)));
    } catch (error) {
      return failed(model, el, error, h("h1", {}, "Chat"));
    }
    el.dataset.ready = "0";
  }

  function knob(key, label, attributes) {
    const input = h("input", { type: "number", value: settings[key], ...attributes, "aria-label": label, onchange: () => {
      if (!input.checkValidity() || input.value === "") return input.reportValidity();
      settings[key] = Number(input.value);
      remember(model, { run, ...settings });
    } });
    knobs.append(h("label", { class: "field" }, h("span", {}, label), input));
  }

  function reset() {
    if (writing) stop();
    turns = [];
    put(log);
    put(told);
    put(said);
    tip.hidden = true;
    box.focus();
  }

  function stop() {
    stopping = true;
    go.disabled = true;
  }

  async function send() {
    const text = box.value;
    if (writing || (!text.trim() && !(!template && turns.length))) return;
    const mine = [...turns, { role: "user", content: text }];
    const asked = { run, ...settings, messages: mine.map(({ role, content }) => ({ role, content })) };
    const answer = { role: "assistant", content: "", tokens: [], asked };
    const place = draw(mine.at(-1), answer);
    turns = [...mine, answer];
    const ours = turns;
    [writing, stopping, box.value] = [true, false, ""];
    put(go, "Stop");
    put(said);
    put(status, "writing");
    try {
      for (let found = null; !found?.finished; ) {
        found = await ask(model, "chat", { ...asked, start: answer.tokens.length, stop: stopping || !el.isConnected || turns !== ours });
        if (!el.isConnected || turns !== ours) {
          if (!found.finished) continue;
          break;
        }
        answer.tokens.push(...found.tokens);
        answer.content = found.text;
        place.write(found.tokens);
        if (found.finished) {
          place.end(ENDS[found.finished]);
          put(footer, copies(found));
          put(status, `answer: ${found.text}`);
        }
      }
    } catch (error) {
      if (!el.isConnected) return;
      put(said, trouble(error));
      put(status);
      if (turns === ours) {
        turns = answer.tokens.length ? ours : ours.slice(0, -2);
        if (!answer.tokens.length) {
          place.remove();
          box.value = text;
        }
      }
    }
    writing = false;
    go.disabled = false;
    put(go, "Send");
    el.dataset.ready = String(Number(el.dataset.ready) + 1);
  }

  // The two new turns: { write(tokens), end(why), remove() }.
  function draw(turn, answer) {
    const tokens = h("span", { class: "talk-tokens", role: "toolbar", "aria-label": `Tokens of answer ${turns.filter((t) => t.role === "assistant").length + 1}; arrow keys go from one to the next`, onkeydown: (event) => move(event, tokens), onpointerleave: () => (tip.hidden = true), onfocusout: () => (tip.hidden = true) });
    const why = h("span", { class: "quiet small" });
    const mine = h("div", { class: "talk-turn mine" }, h("p", { class: "label" }, template ? "You" : "Your text"), h("p", { class: "talk-text" }, turn.content || "\u2026"));
    const theirs = h("div", { class: "talk-turn" }, h("p", { class: "label" }, template ? "Model" : "The model continues"), h("p", { class: "talk-text" }, tokens, " ", why));
    log.append(mine, theirs);
    log.scrollTop = log.scrollHeight;
    put(why, "reading \u2026"); // until the first token, which takes as long as the prompt does
    return {
      write(more) {
        put(why);
        const low = log.scrollTop + log.clientHeight > log.scrollHeight - 40;
        for (const token of more) tokens.append(chip(token, tokens.childElementCount + 1, answer));
        if (low) log.scrollTop = log.scrollHeight;
      },
      end: (text) => {
        // Text that was held back, lest it be half a character.
        tokens.lastElementChild?.append(printable(answer.content.slice(answer.tokens.reduce((n, token) => n + token.text.length, 0))));
        put(why, text ? `(${text})` : "");
      },
      remove: () => [mine, theirs].forEach((each) => each.remove()),
    };
  }

  function chip(token, number, answer) {
    // What is half a character, or ends a text, is shown by its name.
    const name = token.text === "" ? h("span", { class: "talk-name" }, visible(token.shown)) : token.text;
    const made = button(name, () => open(made, token, number, answer), {
      class: "talk-token",
      tabindex: number === 1 ? "0" : "-1",
      "aria-label": `${visible(token.shown)}, probability ${probability(token.p)}`,
      "aria-describedby": "talk-tip",
      onpointerenter: () => show(made, token),
      onfocus: () => show(made, token),
    });
    made.style.setProperty("--unsure", `${Math.round(60 * (1 - token.p))}%`);
    return made;
  }

  function move(event, tokens) {
    if (event.key === "Escape") return (tip.hidden = true);
    const all = [...tokens.children];
    const at = all.indexOf(document.activeElement);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    if (!all[to]) return;
    all[at].tabIndex = -1;
    all[to].tabIndex = 0;
    all[to].focus();
  }

  // What else could have come, under the token, or above it where there is no room.
  function show(made, token) {
    const rows = token.others.some((each) => each.id === token.id) ? token.others : [...token.others, { id: token.id, token: token.shown, p: token.p }];
    const most = Math.max(...rows.map((row) => row.p), 1e-9);
    put(tip, h("p", { class: "label" }, "P(token), before temperature and filters"), h("ol", { class: "next-list" }, rows.map((row) => h("li", { class: row.id === token.id ? "drawn" : null }, h("span", { class: "next-token" }, visible(row.token)), h("span", { class: "next-bar", "aria-hidden": "true" }, h("i", { style: { width: `${(100 * row.p) / most}%` } })), digits(row.p, probability(row.p)), h("span", { class: "next-drawn" }, row.id === token.id ? "written" : "")))));
    tip.hidden = false;
    const around = tip.parentNode.getBoundingClientRect();
    const at = made.getClientRects()[0];
    tip.style.setProperty("left", `${Math.max(0, Math.min(at.left - around.left, around.width - tip.offsetWidth))}px`);
    const above = at.top - 6 - tip.offsetHeight;
    const below = at.bottom + 6;
    const top = below + tip.offsetHeight > innerHeight && above > 0 ? above : below;
    tip.style.setProperty("top", `${top - around.top}px`);
  }

  async function open(made, token, number, answer) {
    const mine = ++opened;
    log.querySelectorAll('[aria-pressed="true"]').forEach((each) => each.removeAttribute("aria-pressed"));
    made.setAttribute("aria-pressed", "true");
    put(told, h("p", { class: "quiet" }, "Opening \u2018", visible(token.shown), "\u2019 \u2026"));
    try {
      const found = await ask(model, "spoken", { ...answer.asked, token: number });
      if (mine !== opened || !el.isConnected) return;
      put(told, receipt(found));
      reveal(made);
    } catch (error) {
      if (mine === opened) put(told, trouble(error));
    }
    el.dataset.opened = String(mine);
  }

  // A name in quotes, and its number, are never torn apart at the end of a line.
  function joined(label) {
    return label.replace(/-(?=\d)/g, "\u2212").replace(/' (?=\S)/g, "'\u00a0");
  }

  // A receipt opens below the conversation, maybe out of sight: its beginning comes into view, as far as its token stays in view.
  function reveal(made) {
    const hidden = told.getBoundingClientRect().top + 200 - innerHeight;
    const room = made.getBoundingClientRect().top - 100;
    scrollBy(0, Math.max(0, Math.min(hidden, room)));
  }

  function receipt(found) {
    const more = found.rest.count ? [{ label: `${count(found.rest.count)} more`, value: found.rest.value, kind: "quiet" }] : [];
    return h(
      "section",
      { class: "panel talk-why", "aria-label": "What made the token likely or unlikely" },
      h("h2", {}, "What made \u2018", visible(found.shown), "\u2019 likely or unlikely"),
      h("p", {}, "Its logit ", digits(found.logit), ` is the sum of what each layer and head contributed at the last of the ${count(found.read)} tokens read:`),
      h("div", { class: "columns" }, h("div", {}, h("h3", {}, "layers and heads"), bars([...found.rows.map((row) => ({ ...row, label: joined(row.label) })), ...more, { label: "rounding", value: found.rounding, kind: "quiet" }])), h("div", {}, h("h3", {}, "earlier words, summed over all heads"), bars(found.words.map((row) => ({ label: visible(row.text), note: ` token ${count(row.place)}`, value: row.value }))))),
      copies(found),
    );
  }

  return () => (stopping = true);
}

export default { render };
