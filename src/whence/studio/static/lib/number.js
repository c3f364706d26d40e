// Numbers as people read them: four significant digits, and every digit on hover.

import { h } from "./dom.js";

const MINUS = "\u2212";

function minus(text) {
  return text.replace("-", MINUS).replace("e-", "e" + MINUS).replace("e+", "e");
}

// A number that JSON lacks comes as text.
export function number(x) {
  if (typeof x !== "string") return x;
  return { nan: NaN, inf: Infinity, "-inf": -Infinity }[x] ?? Number(x);
}

export function short(given) {
  const x = number(given);
  if (x === null || x === undefined) return "\u2013";
  if (Number.isNaN(x)) return "not a number";
  if (!Number.isFinite(x)) return x > 0 ? "\u221e" : MINUS + "\u221e";
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (Number.isInteger(x) && size < 1e6) return minus(String(x));
  if (size >= 1e6 || size < 1e-4) return minus(x.toExponential(3));
  return minus(size >= 1e4 ? String(Number(x.toPrecision(4))) : x.toPrecision(4));
}

// A probability is never rounded to 0 or 1, which it isn't.
export function probability(given) {
  const p = number(given);
  if (p === null || p === undefined) return "\u2013";
  if (p === 0 || p === 1) return String(p);
  if (p > 0 && p < 0.0001) return minus(p.toExponential(3));
  if (p < 1 && p > 0.9999) return "> 0.9999";
  return p < 0.1 ? p.toPrecision(4) : p.toFixed(4);
}

// All digits that tell this number from its neighbours.
export function full(given) {
  const x = number(given);
  return x === null || x === undefined ? "" : minus(String(x));
}

export function count(x) {
  return x === null || x === undefined ? "\u2013" : Math.round(number(x)).toLocaleString("en-US");
}

export function bytes(x) {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) if (x >= size) return `${(x / size).toFixed(1)} ${unit}`;
  return `${x} bytes`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "\u2013";
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 100) return `${whole} s`;
  if (whole < 6000) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${(whole / 3600).toFixed(1)} h`;
}

// old + change = after, with as many decimals as the change needs to be seen in all three, and where in `after` the
// first digit stands that differs from `old`.
export function sum(old, change, after) {
  const [a, b, c] = [old, change, after].map(number);
  if (![a, b, c].every(Number.isFinite)) return { old: short(old), change: short(change), after: short(after), at: 0 };
  const places = (x, digits) => (x === 0 ? 0 : digits - 1 - Math.floor(Math.log10(Math.abs(x))));
  const decimals = Math.min(Math.max(places(a, 4), places(b, 4), 0), Math.max(places(a, 17), 0), 20);
  if (decimals > 12) return { old: full(old), change: full(change), after: full(after), at: 0 };
  const [x, y, z] = [a, b, c].map((value) => minus(value.toFixed(decimals)));
  let at = 0;
  while (at < z.length && x.length === z.length && x[at] === z[at]) at += 1;
  return { old: x, change: y, after: z, at };
}

// A number with its digits on hover.
export function digits(x, shown) {
  return h("span", { class: "number", title: full(x) }, shown ?? short(x));
}

// A number whose sign also has a glyph and a colour.
export function signed(given, shown) {
  const x = number(given);
  if (!(x > 0 || x < 0)) return digits(x, shown);
  const up = x > 0;
  return h("span", { class: up ? "number pos" : "number neg", title: full(x) }, up ? "\u25b2\u202f+" : "\u25bc\u202f", shown ?? short(x));
}
