// The true points of a run's record, a thousand steps at a time, as the cursor comes to them.

import { ask } from "./ask.js";
import { number } from "./number.js";

const MANY = 1000;
const COLUMNS = ["loss", "rate", "grad_norm"];

// at(step): { loss, rate, grad_norm }, null where there is no such step, undefined where it isn't
// known yet; load(step) asks for it. cut(first, last, more): the
// answer about a stretch; forget() when the record was written anew.
export function points(model, run) {
  let known = new Map();
  const asking = new Map();

  function at(step) {
    const block = known.get(Math.floor(step / MANY));
    if (!block) return undefined;
    const i = step - block.first;
    if (i < 0 || i >= block.n) return block.whole ? null : undefined;
    return Object.fromEntries(COLUMNS.map((name) => [name, number(block[name][i])]));
  }

  function load(step) {
    const block = Math.floor(step / MANY);
    if (!asking.has(block)) {
      const first = block * MANY;
      const asked = ask(model, "points", { run, first, last: first + MANY - 1, buckets: MANY })
        .then(({ curves }) => known.set(block, { first, n: curves.loss.value.data.length, whole: curves.loss.value.data.length === MANY, ...Object.fromEntries(COLUMNS.map((name) => [name, curves[name].value.data])) }))
        .catch(() => {})
        .finally(() => asking.delete(block));
      asking.set(block, asked);
    }
    return asking.get(block);
  }

  const cut = (first, last, more) => ask(model, "points", { run, first, last, ...more });
  return { at, load, cut, forget: () => (known = new Map()) };
}
