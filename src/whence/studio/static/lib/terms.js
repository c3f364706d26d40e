// A small receipt: a formula in symbols and in figures, its terms with signed bars, what is left over.

import { button, h } from "./dom.js";
import { digits, number, signed } from "./number.js";

const SHOWN = 14;

// `open(address)` is called where a term can be opened itself.
export function receipt(given, open) {
  const terms = [...given.terms];
  if (terms.length > SHOWN) terms.sort((a, b) => Math.abs(number(b.value)) - Math.abs(number(a.value)));
  const rest = terms.splice(SHOWN);
  const largest = Math.max(...given.terms.map((term) => Math.abs(number(term.value)) || 0), 1e-300);
  const left = rest.reduce((sum, term) => sum + number(term.value), 0);
  return h(
    "div",
    { class: "small-receipt", "data-address": given.address },
    h("p", { class: "quiet quantity" }, given.quantity),
    h("p", { class: "formula" }, h("span", { class: "symbols" }, given.verdict === "given" ? given.symbols : `${given.address} = ${given.symbols}`), given.numbers ? [h("br", {}), h("span", { class: "figures", title: given.numbers }, trimmed(given.numbers))] : null, " = ", h("strong", {}, digits(given.value))),
    terms.length
      ? h(
          "table",
          { class: "terms" },
          h("thead", { class: "hidden" }, h("tr", {}, ["value", "size", "term"].map((name) => h("th", { scope: "col" }, name)))),
          h(
            "tbody",
            {},
            terms.map((term) => row(term, largest, open)),
            rest.length ? h("tr", {}, h("td", { class: "n" }, signed(left)), h("td", {}), h("td", { class: "quiet" }, `${rest.length} smaller terms together`)) : null,
            h("tr", { class: "left-over" }, h("td", { class: "n" }, digits(given.residual)), h("td", {}), h("td", { class: "quiet" }, number(given.residual) === 0 ? "rounding error: none, the terms add up exactly" : "rounding error")),
          ),
        )
      : null,
    given.notes.map((note) => h("p", { class: "quiet" }, note)),
  );
}

function row(term, largest, open) {
  const value = number(term.value);
  const share = (Math.abs(value) / largest) * 50;
  const bar = h("span", { class: value < 0 ? "bar-of neg" : "bar-of pos", "aria-hidden": "true" }, h("i", { style: { width: `${share || 0}%` } }));
  const label = term.address ? button(term.label, () => open(term.address), { class: "term" }) : term.label;
  return h("tr", {}, h("td", { class: "n" }, signed(value)), h("td", { class: "bar-cell" }, bar), h("td", {}, label, term.detail ? h("span", { class: "quiet", title: term.detail }, ` = ${trimmed(term.detail)}`) : null));
}

// Figures in a text cut to six digits; the text itself stands behind on hover.
export function trimmed(text) {
  return text.replace(/\d+\.\d{6,}(e[-+]?\d+)?/g, (figure) => String(Number(Number(figure).toPrecision(6)))).replace(/(^|[\s(])-(?=\d)/g, "$1\u2212");
}
