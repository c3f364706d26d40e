// Formulas as MathML: m("mfrac", {}, …) builds, and formula("Σₖ a[i,k]·b[k,j]") reads.

import { printable } from "./dom.js";

const NS = "http://www.w3.org/1998/Math/MathML";
const BELOW = { "\u2096": "k", "\u1d62": "i", "\u2c7c": "j", "\u209c": "t", "\u2099": "n" };

export function m(tag, attributes, ...children) {
  const node = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  for (const child of children.flat(Infinity)) if (child !== null && child !== undefined) node.append(child instanceof Node ? child : document.createTextNode(printable(child)));
  return node;
}

export function math(...children) {
  return m("math", { display: "inline", displaystyle: "true" }, m("mrow", {}, ...children));
}

export function name(text) {
  return m("mi", text.length > 1 ? { mathvariant: "normal" } : {}, text);
}

export function value(text) {
  return m("mn", {}, text);
}

export function op(text) {
  return m("mo", {}, text);
}

export function row(...children) {
  return m("mrow", {}, ...children);
}

// The style gives room above and below the bar: a font that isn't made for formulas says nothing of it.
export function fraction(above, below) {
  return m("mfrac", {}, m("mrow", { class: "above" }, above), m("mrow", { class: "below-bar" }, below));
}

// The letter with its hat as one, which every font sets right; an accent over it runs into it where
// the font isn't made for formulas.
export function hat(text) {
  return m("mi", { class: "hatted" }, `${text}\u0302`);
}

// The bar of the root is the style's, for the same reason: a root that doesn't stretch misses it.
export function root(...under) {
  return m("mrow", { class: "root" }, m("mo", { stretchy: "false", lspace: "0", rspace: "0" }, "\u221a"), m("mrow", { class: "under" }, ...under));
}

const TOKEN = /\s*([\u03a3\u220f][\u2096\u1d62\u2c7c\u209c\u2099]?|\d+(?:\.\d+)?(?:e[+-]?\d+)?|[\p{L}_][\p{L}\p{N}_]*(?:\[[^\]]*\])?|\u221a|\S)/gu;

// A line of symbols as the library writes it. What it can't read stays as it is.
export function formula(text) {
  const parts = [...text.matchAll(TOKEN)].map((found) => found[1]);
  const out = [];
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i];
    // The softmax, as the library writes it: a fraction of what stands to both sides.
    if (part === "/" && out.length && parts[i + 1] === "\u03a3\u2096") {
      const above = row(...out.splice(0));
      return math(fraction(above, formula(parts.slice(i + 1).join(" ")).firstChild));
    }
    if (part === "^" && out.length && i + 1 < parts.length) out.push(m("msup", {}, out.pop(), atom(parts[++i])));
    else out.push(atom(part));
  }
  return math(...out);
}

function atom(part) {
  if (/^[\u03a3\u220f]/u.test(part)) return part.length > 1 ? m("munder", {}, op(part[0] === "\u03a3" ? "\u2211" : "\u220f"), name(BELOW[part[1]] || part[1])) : op("\u2211");
  if (/^\d/.test(part)) return value(part);
  const indexed = part.match(/^([\p{L}_][\p{L}\p{N}_]*)\[([^\]]*)\]$/u);
  if (indexed) return m("msub", {}, name(indexed[1]), m("mtext", {}, indexed[2]));
  if (/^[\p{L}_]/u.test(part)) return name(part);
  return op(part === "*" ? "\u00b7" : part === "-" ? "\u2212" : part);
}
