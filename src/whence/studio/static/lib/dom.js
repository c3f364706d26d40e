// Building nodes: text is always text, so that nothing a user wrote is ever read as markup.

// Control characters but tab and newline, marks that reorder lines, halves of characters: as
// `whence.visible` writes them out for terminals and reports.
const HOSTILE = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]|\r(?!\n)/gu;

export function printable(text) {
  return String(text).replace(HOSTILE, (found) => `\\u${found.codePointAt(0).toString(16).padStart(4, "0")}`);
}

const SAID = new Set(["title", "aria-label", "alt", "placeholder"]); // attributes that a person is told
const SVG = "http://www.w3.org/2000/svg";

export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

// Attributes: `onclick` and the like take a function, `class` and others a text; true stands for an
// attribute without a value; false, null and undefined leave it out. `value` and `checked` are set
// as properties, `style` takes an object.
export function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on") && typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, each] of Object.entries(value)) node.style.setProperty(key, each);
    else if (name === "value" || name === "checked") node[name] = value;
    else node.setAttribute(name, value === true ? "" : SAID.has(name) ? printable(value) : String(value));
  }
  append(node, children);
  return node;
}

export function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(printable(child)));
  }
  return node;
}

// Put other children in a node's place of its own.
export function put(node, ...children) {
  node.replaceChildren();
  return append(node, children);
}

// Words that begin a sentence with a capital letter; a run's name or a command keeps its own.
const SENTENCE = /^(a|an|ask|choose|close|did|enter|give|it|no|nothing|only|open|set|start|that|the|there|they|this|train|type|use|write) /;

// What went wrong, why and what to do, and buttons that do it; screen readers say it at once. The
// library's errors are one sentence: what is wrong, a colon, what to do.
export function trouble(message, ...buttons) {
  const text = message instanceof Error ? message.message : message;
  const [, what, why] = text.match(/^(.+?[^\d]): (.+)$/s) || [null, text, ""];
  const begun = (kind, words) => ({ class: SENTENCE.test(words) ? `${kind} begins` : kind });
  const whole = why ? [h("p", begun("what-is-wrong", what), `${what}. `), h("p", begun("why", why), why)] : h("p", begun("what-is-wrong", what), what);
  return h("div", { class: "trouble", role: "alert" }, h("div", {}, whole), buttons.filter(Boolean).length ? h("div", { class: "row" }, buttons) : null);
}

// The attributes of a box that scrolls: the keyboard reaches it, and it says what is in it.
export function scrolls(name, more) {
  return { class: `scroll ${more || ""}`.trim(), tabindex: "0", role: "group", "aria-label": name };
}

export function button(label, onclick, attributes) {
  return h("button", { type: "button", onclick, ...attributes }, label);
}

// Draw anew, and leave the keyboard on what is called as that was on which it stood.
export function keeping(el, draw) {
  const called = (node) => node.tagName + (node.getAttribute("aria-label") || node.textContent.replace(/[\u25b8\u25be]/g, "").trim());
  const at = el.contains(document.activeElement) && document.activeElement !== el ? called(document.activeElement) : null;
  draw();
  if (at && !el.contains(document.activeElement)) [...el.querySelectorAll("button, input, select, canvas, [tabindex]")].find((node) => called(node) === at)?.focus({ preventScroll: true });
}

// Call at most once per frame, with the last arguments, and no more often than every `least` ms;
// that may be a function of how long the last call took, with the layout and painting it made.
// `soon` is the same, without waiting for what the last call cost.
export function paced(call, least) {
  let last = 0;
  let took = 0;
  let pending = null;
  let timer = null;
  const painted = new MessageChannel(); // a message of a frame comes once the frame is painted
  painted.port1.onmessage = () => (took = performance.now() - last);
  function go() {
    timer = null;
    last = performance.now();
    const given = pending;
    pending = null;
    call(...given);
    painted.port2.postMessage(null);
  }
  function ask(...given) {
    pending = given;
    const wait = typeof least === "function" ? least(took) : least;
    timer ??= setTimeout(() => requestAnimationFrame(go), Math.max(0, last + wait - performance.now()));
  }
  ask.soon = (...given) => {
    clearTimeout(timer);
    timer = null;
    took = 0;
    ask(...given);
  };
  ask.stop = () => {
    clearTimeout(timer);
    painted.port1.close();
  };
  return ask;
}
