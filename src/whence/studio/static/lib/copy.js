// Under every view: the line of Python and the command that give the same, to copy.

import { button, h } from "./dom.js";

export function copyable(text, label) {
  const said = h("span", { class: "quiet", "aria-live": "polite" });
  const code = h("code", {}, text);
  return h("div", { class: "copyable" }, label ? h("span", { class: "label" }, label) : null, code, button("Copy", () => copy(text, code, said), { class: "small", "data-local": "", "aria-label": `Copy ${label || "this"}` }), said);
}

async function copy(text, code, said) {
  try {
    await navigator.clipboard.writeText(text);
    said.textContent = "copied";
  } catch {
    // No permission: select it, so that Ctrl-C does it.
    getSelection().selectAllChildren(code);
    said.textContent = "selected: press Ctrl-C";
  }
  setTimeout(() => (said.textContent = ""), 2500);
}

export function copies(answer) {
  return h("footer", { class: "copies" }, copyable(answer.python, "Python"), copyable(answer.shell, "Shell"));
}
