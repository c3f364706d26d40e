// View 8: the lessons as a guided tour. Prose stops it, a question waits for a prediction, and every
// number in the prose comes from the cell that was just run.

import { ask, asks, first, remember } from "../lib/ask.js";
import { copies } from "../lib/copy.js";
import { button, h, paced, put, scrolls, trouble } from "../lib/dom.js";
import { dial } from "../lib/dial.js";
import { drawing, film } from "../lib/film.js";
import { markdown } from "../lib/markdown.js";
import { failed } from "../lib/failed.js";
import { digits } from "../lib/number.js";
import { progress } from "../lib/progress.js";

const DONE = "whence-lessons-done"; // in this browser's memory: the lessons that were read to the end

function render({ model, el }) {
  let params = { ...(model.get("params") || {}) };
  let answer = null;
  let gone = false;
  let asked = 0;
  const list = h("ol", { class: "lessons" });
  const told = h("div", { class: "told" });
  const forth = h("div", { class: "forth" });
  const wrong = h("div", {});
  const foot = h("div", {});
  const nodes = new Map(); // what is shown of each cell, kept so that the page doesn't jump

  put(el, h("div", { class: "journey" }, h("nav", { "aria-label": "Lessons" }, list), h("article", {}, h("h1", {}, "Journey"), told, wrong, forth, foot)));

  async function go(changes, fresh = false) {
    if (!asks(model)) return;
    const before = params;
    params = Object.fromEntries(Object.entries({ ...(fresh ? {} : params), ...changes }).filter(([, value]) => (Array.isArray(value) ? value.length : value)));
    const mine = ++asked;
    forth.setAttribute("aria-busy", "true");
    const over = progress(model, params.lesson || 0, wrong);
    try {
      const found = await ask(model, "journey", params);
      if (mine !== asked || gone) return;
      over();
      show(found, fresh);
      remember(model, params);
    } catch (error) {
      if (mine !== asked || gone) return;
      params = before;
      over();
      put(wrong, trouble(error));
    } finally {
      over();
      forth.removeAttribute("aria-busy");
    }
  }

  function finished() {
    try {
      return JSON.parse(localStorage.getItem(DONE) || "[]");
    } catch {
      return []; // no memory here, as in a notebook that forbids it
    }
  }

  function finish(n) {
    const done = finished();
    if (done.includes(n)) return;
    try {
      localStorage.setItem(DONE, JSON.stringify([...done, n]));
    } catch {
      // then the tick is gone with the page
    }
  }

  function show(found, fresh) {
    const before = fresh || answer?.lesson !== found.lesson ? -1 : answer.cell;
    answer = found;
    if (before < 0) {
      nodes.clear();
      put(told);
    }
    el.querySelector("h1").textContent = `${found.lesson} · ${found.title}`;
    if (found.cell >= found.last) finish(found.lesson);
    const done = finished();
    put(list, found.lessons.map((each) => h("li", { "data-done": done.includes(each.n) ? "" : null }, h("a", { href: "#", title: each.about, "aria-current": each.n === found.lesson ? "true" : null, onclick: (event) => (event.preventDefault(), go({ lesson: each.n }, true)) }, h("span", { class: "no" }, each.n), h("span", {}, each.title), done.includes(each.n) ? h("span", { class: "done", title: "finished" }, h("span", { "aria-hidden": "true" }, "\u2713"), h("span", { class: "hidden" }, "finished")) : null))));
    if (list.scrollWidth > list.clientWidth) {
      const here = list.querySelector("[aria-current]"); // on a phone the lessons are a row
      list.scrollLeft = here.offsetLeft - list.offsetLeft - (list.clientWidth - here.offsetWidth) / 2;
    }
    for (const cell of found.cells) {
      const key = JSON.stringify(cell);
      const old = nodes.get(cell.cell);
      if (old?.key === key) continue;
      if (old?.node.redraw) {
        old.node.redraw(cell); // the slider under the hand stays
        old.key = key;
        continue;
      }
      const node = h("div", { "data-cell": cell.cell, class: cell.kind });
      put(node, drawn(cell, node));
      const held = old?.node.contains(document.activeElement);
      if (old) old.node.replaceWith(node);
      else told.append(node);
      // The focus stays where something was done: on what came of it, or on the choice itself.
      if (held) (node.querySelector(".result:not([hidden]), [aria-pressed=true]") || node.querySelector("button, input"))?.focus();
      nodes.set(cell.cell, { key, node });
    }
    for (const word of told.querySelectorAll(".lights")) {
      const block = blockOf(word);
      const colour = block && [block, ...block.querySelectorAll("*")].flatMap((node) => [...node.classList]).find((name) => /^c\d$/.test(name));
      if (colour) word.classList.add(colour);
    }
    const open = found.cells.find((cell) => cell.cell === found.cell && cell.kind === "question" && !cell.choice);
    const end = found.cell >= found.last;
    const next = found.lessons.find((each) => each.n === found.lesson + 1);
    put(
      forth,
      open ? h("span", { class: "quiet" }, "Make your prediction to continue.") : null,
      !end && !open ? button("Continue", () => go({ cell: found.next }), { class: "primary", title: "runs the next experiment" }) : null,
      !end ? button("Show the whole lesson", () => go({ cell: found.last }), { class: "small" }) : null,
      end && next ? button(`Next: ${next.title}`, () => go({ lesson: next.n }, true), { class: "primary" }) : null,
      h("span", { class: "quiet number" }, `${found.cell + 1} of ${found.last + 1}`),
    );
    put(foot, copies(found));
    if (before >= 0) told.querySelector(`[data-cell="${before + 1}"]`)?.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    el.dataset.step = found.cell;
    el.dataset.ready = "";
  }

  function drawn(cell, node) {
    const code = cell.source && cell.kind === "code" ? h("details", { class: "code" }, h("summary", {}, "the code of this experiment"), h("pre", {}, h("code", {}, cell.source)), numbers(cell)) : null;
    const said = cell.markdown ? markdown(cell.cell ? cell.markdown : cell.markdown.replace(/^# .*\n/, ""), light) : [];
    if (cell.kind === "exercise" && cell.blanks.length && cell.blanks.every((blank) => blank.ends)) return dials(cell, node);
    if (cell.kind === "exercise") return exercise(cell, said);
    if (cell.svg) return [code, picture(cell)];
    if (cell.kind === "question") return question(cell);
    if (cell.kind === "answer") return h("div", { class: `result ${cell.right === false ? "wrong" : "right"}` }, said);
    return [code, said, cell.kind === "code" && cell.text && !cell.markdown ? h("pre", {}, cell.text) : null];
  }

  function question(cell) {
    const [said] = cell.markdown.split(/\n\n?- a\) /);
    const letter = (i) => "abcdef"[i];
    const kept = (answer?.cells || []).filter((each) => each.choice && each.cell !== cell.cell).map((each) => `${each.cell}:${each.choice}`);
    return h(
      "div",
      { class: "asked" },
      markdown(said, light),
      h("div", { class: "choices", role: "group", "aria-label": "Your prediction" }, cell.choices.map((text, i) => button([`${letter(i)}) `, ...inlineOf(text)], () => go({ choices: [...kept, `${cell.cell}:${letter(i)}`], cell: Math.max(answer.cell, reveal(cell.cell)) }), { "aria-pressed": String(cell.choice === letter(i)) }))),
    );
  }

  // Where the answer to a question stands: the next stop behind it.
  function reveal(cell) {
    return cell === answer.cell ? answer.next : answer.cell;
  }

  // Numbers that are moved: the picture and the verdict follow.
  function dials(cell, node) {
    const seen = h("div", { class: "dial-seen" });
    const result = h("div", { role: "status" });
    const ask_ = paced(() => {
      const others = (params.values || []).filter((text) => !text.startsWith(`${cell.cell}:`));
      go({ values: [...others, ...cell.blanks.map((blank, i) => `${cell.cell}:${blank.name}=${all[i].value()}`)] });
    }, 120);
    const all = cell.blanks.map((blank) => dial(blank, ask_));
    node.redraw = (now) => {
      if (now.svg) put(seen, picture(now, false));
      put(result, now.tried ? h("div", { class: `result ${now.right ? "right" : "wrong"}` }, markdown(now.markdown, light)) : h("p", { class: "quiet small" }, "Move the slider and watch the picture."));
    };
    node.redraw(cell);
    return h("div", { class: "asked" }, all.map((each) => each.node), seen, result, h("details", { class: "code" }, h("summary", {}, "how your answer is checked"), h("pre", {}, h("code", {}, cell.source))));
  }

  function exercise(cell, said) {
    // What was found belongs to the entry that was checked: another entry takes it away.
    const result = h("div", { class: `result ${cell.right ? "right" : "wrong"}`, role: "status", tabindex: -1, hidden: !cell.tried }, cell.tried ? said : null);
    const boxes = cell.blanks.map((blank) => h("input", { type: "text", value: blank.value, size: 10, "aria-label": blank.what || blank.name, oninput: () => (result.hidden = true) }));
    const check = (event) => {
      event.preventDefault();
      result.hidden = true;
      const others = (params.values || []).filter((text) => !text.startsWith(`${cell.cell}:`));
      go({ values: [...others, ...cell.blanks.map((blank, i) => `${cell.cell}:${blank.name}=${boxes[i].value}`)] });
    };
    return h(
      "form",
      { class: "asked", onsubmit: check },
      cell.blanks.map((blank, i) => h("label", { class: "row" }, h("code", {}, blank.name), " = ", boxes[i], h("span", { class: "quiet" }, blank.what))),
      h("p", {}, h("button", { type: "submit", class: "primary" }, "Check")),
      result,
      h("details", { class: "code" }, h("summary", {}, "how your answer is checked"), h("pre", {}, h("code", {}, cell.source))),
    );
  }

  // A word of the prose that lights up a block of the nearest picture before it.
  function light(label, block) {
    const word = button(label, () => lit(word, word.getAttribute("aria-pressed") !== "true"), { class: "lights", "data-lights": block, "aria-pressed": "false", onpointerenter: () => lit(word, true), onpointerleave: () => unlit(word), onfocus: () => lit(word, true), onblur: () => (word.setAttribute("aria-pressed", "false"), lit(word, false)) });
    return word;
  }

  // The pointer has left a word: what the keyboard is on stays lit.
  function unlit(word) {
    lit(word, false);
    const held = told.querySelector('.lights:focus, .lights[aria-pressed="true"]');
    if (held) lit(held, true);
  }

  function blockOf(word) {
    const all = [...told.querySelectorAll(`[data-block="${CSS.escape(word.dataset.lights)}"]`)];
    const before = all.filter((node) => word.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_PRECEDING);
    return before[before.length - 1] || all[0];
  }

  function lit(word, on) {
    const chosen = blockOf(word);
    const svg = chosen?.closest("svg");
    if (!svg) return;
    for (const node of svg.querySelectorAll("[data-block]")) node.classList.toggle("lit", on && node.dataset.block === chosen.dataset.block);
    svg.classList.toggle("lit-one", on);
    svg.classList.toggle("paused", on); // prose pauses the drawing
  }

  const over = asks(model) ? progress(model, params.lesson || 0, wrong) : () => {};
  first(model, "journey", params)
    .then((found) => (over(), gone || show(found, true)))
    .catch((error) => (over(), failed(model, el, error, h("h1", {}, "Journey"))));
  return () => {
    gone = true;
    over();
  };
}

function inlineOf(text) {
  return markdown(text, (label) => label).flatMap((node) => [...node.childNodes]);
}

function numbers(cell) {
  const found = Object.entries(cell.numbers);
  return found.length ? h("dl", { class: "facts" }, found.slice(0, 12).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, digits(value))))) : null;
}

// The library's own drawing, as nodes, without what could run or restyle the page.
function picture(cell, draws = true) {
  const svg = drawing(cell.svg);
  svg.classList.toggle("draws", draws && !cell.frames.length);
  const moves = cell.frames.length ? film(svg, cell.frames) : null;
  const [heads, ...rows] = cell.table;
  const behind = heads?.length ? h("details", { class: "behind" }, h("summary", {}, "Table"), h("div", scrolls("The picture as a table"), h("table", {}, h("thead", {}, h("tr", {}, heads.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows.slice(0, 200).map((row) => h("tr", {}, row.map((x) => h("td", {}, typeof x === "number" ? digits(x) : x)))))))) : null;
  // On a phone a picture keeps the size at which its words can be read, and is moved sideways.
  const phone = matchMedia("(max-width: 640px)").matches;
  return h("figure", { class: "picture" }, phone ? h("div", scrolls(svg.getAttribute("aria-label") || "The picture", "wide-picture"), svg) : svg, moves, behind);
}

export default { render };
