// The box for an address, completed from the step's tensors as it is typed.

import { ask } from "./ask.js";
import { button, h, put } from "./dom.js";

let boxes = 0;

export function addressBox(model, about, address, visit) {
  const id = `addresses-${++boxes}`;
  const list = h("datalist", { id });
  const near = h("p", { class: "quiet small", "aria-live": "polite" });
  let timer = null;
  let asked = 0;
  const box = h("input", { type: "text", value: address, list: id, spellcheck: "false", autocomplete: "off", "aria-label": "Address of a number", class: "address-box", oninput: () => {
    clearTimeout(timer);
    timer = setTimeout(complete, 200);
  } });
  async function complete() {
    const mine = ++asked;
    try {
      const found = await ask(model, "names", { ...about(), part: box.value });
      if (mine !== asked) return;
      put(list, found.names.map((each) => h("option", { value: example(each) }, `[${each.shape.join(", ")}]`)));
      put(near, found.near || `${found.count} tensor${found.count === 1 ? "" : "s"}`);
    } catch (error) {
      if (mine === asked) put(near, error.message);
    }
  }
  const go = () => box.value.trim() && visit(box.value.trim());
  return h("form", { class: "row address-row", onsubmit: (event) => (event.preventDefault(), go()) }, h("label", { class: "field wide-field" }, h("span", {}, "address, such as blocks.0.mlp.up.weight[3,7].grad"), box), button("Open", go, { class: "primary" }), list, near);
}

function example(each) {
  return each.shape.length ? `${each.name}[${each.shape.map(() => 0).join(",")}]` : each.name;
}
