// View 2: one run's course.

import { first } from "../lib/ask.js";
import { copies } from "../lib/copy.js";
import { h, put, trouble } from "../lib/dom.js";
import { count, digits } from "../lib/number.js";

function render({ model, el }) {
  const body = h("div", {});
  const { run } = model.get("params");
  put(el, h("h1", {}, run), body);
  first(model, "live", { run })
    .then((answer) => put(body, h("p", {}, `${count(answer.done)} of ${count(answer.steps)} steps, `, answer.best ? ["best ", digits(answer.best.bits_per_byte), " bits/byte"] : ""), copies(answer)))
    .catch((error) => put(body, trouble(error)))
    .finally(() => (el.dataset.ready = ""));
  return () => {};
}

export default { render };
