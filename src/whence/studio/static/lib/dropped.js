// A file that is dropped anywhere on the page. Without this the browser would leave the page for it.

import { h } from "./dom.js";

// `take(file)` is called with the first file; returns a function that ends it.
export function dropped(el, take) {
  const cover = h("div", { class: "drop-cover", hidden: true }, h("p", {}, "Drop a text file to train on it"));
  el.append(cover);
  const has = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  const listeners = {
    dragover(event) {
      if (!has(event)) return;
      event.preventDefault();
      cover.hidden = false;
    },
    dragleave(event) {
      if (!event.relatedTarget) cover.hidden = true; // out of the window
    },
    drop(event) {
      if (!has(event)) return;
      event.preventDefault();
      cover.hidden = true;
      const [file] = event.dataTransfer.files;
      if (file) take(file);
    },
  };
  for (const [kind, listener] of Object.entries(listeners)) document.addEventListener(kind, listener);
  return () => Object.entries(listeners).forEach(([kind, listener]) => document.removeEventListener(kind, listener));
}
