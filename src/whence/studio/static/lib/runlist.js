// Which of the runs a list shows, in which order, and in which groups.

import { number } from "./number.js";

// A column's name → what it is sorted by, and whether the largest comes first at the first click.
export const SORTS = {
  run: [(run) => run.name, false],
  state: [(run) => run.state, false],
  steps: [(run) => run.done, true],
  loss: [(run) => number(run.loss), false],
  validation: [(run) => number(run.validation), false],
  "bits/byte": [(run) => number(run.bits_per_byte), false],
  "tokens/s": [(run) => run.tokens_per_second, true],
  disk: [(run) => run.bytes, true],
};

// `sort` is a column's name, with "-" before it for the largest first; without it the newest are
// first, as they come. What has no such number stands at the end.
export function sorted(runs, sort) {
  const down = sort?.startsWith("-");
  const found = SORTS[down ? sort.slice(1) : sort];
  if (!found) return runs;
  const none = (x) => x === null || x === undefined || Number.isNaN(x);
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b) * (down ? -1 : 1);
  return [...runs].sort((a, b) => {
    const [x, y] = [found[0](a), found[0](b)];
    if (none(x) || none(y)) return none(x) - none(y);
    return compare(x, y);
  });
}

// Runs in which every word stands somewhere: name, model, text, state, tags, settings that differ.
export function matching(runs, words) {
  const wanted = (words || "").toLowerCase().split(/\s+/).filter(Boolean);
  const said = (run) => [run.name, run.model, run.text, run.state, run.origin, ...(run.tags || []), ...Object.entries(run.settings || {}).map(([name, value]) => `${name}=${value}`)].join("\n").toLowerCase();
  return wanted.length ? runs.filter((run) => wanted.every((word) => said(run).includes(word))) : runs;
}

// [[the group's name, its runs]], in the order in which their first runs stand.
export function grouped(runs, by) {
  if (!by) return [["", runs]];
  const groups = new Map();
  for (const run of runs) {
    const names = by === "tag" ? (run.tags?.length ? run.tags : ["untagged"]) : [of(run, by)];
    for (const name of names.slice(0, 1)) groups.set(name, [...(groups.get(name) || []), run]);
  }
  return [...groups];
}

function of(run, by) {
  if (by in { model: 0, text: 0, state: 0 }) return run[by] || "\u2013";
  return run.settings && by in run.settings ? `${lastOf(by)} = ${said(run.settings[by])}` : `no ${lastOf(by)}`;
}

export function lastOf(name) {
  return name.split(".").pop().replaceAll("_", " ");
}

export function said(value) {
  return value === null || value === undefined ? "not set" : Array.isArray(value) ? value.join(", ") : String(value);
}
