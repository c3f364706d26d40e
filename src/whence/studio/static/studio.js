// The shell: an address for every view, the bar above, and one view at a time.

import { button, h, printable, put, trouble } from "./lib/dom.js";
import { enter } from "./lib/secret.js";
import { pageModel } from "./page_model.js";

// Views, in the bar's order; those with `run` show one run, `hidden` ones are reached from others.
const VIEWS = {
  runs: { title: "Runs" },
  compare: { title: "Compare", hidden: true },
  play: { title: "Play" },
  journey: { title: "Journey" },
  live: { title: "Live", run: true },
  prediction: { title: "Prediction", run: true },
  chat: { title: "Chat", run: true },
  flow: { title: "Flow", run: true },
  cell: { title: "Cell", run: true },
  receipt: { title: "Receipt", run: true },
};

const bar = document.querySelector("header.bar");
const main = document.querySelector("main");
let leave = null;
let shown = "";
let moved = false; // from one view to another; the first one leaves the focus where it is

// #/live?run="mine"&step=30: each value as JSON, a text without its quotes where that is clear.
export function hashOf(view, params) {
  const pairs = Object.entries(params || {})
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(written(value))}`);
  return `#/${view}${pairs.length ? "?" + pairs.join("&") : ""}`;
}

function written(value) {
  if (typeof value !== "string") return JSON.stringify(value);
  return read(value) === value ? value : JSON.stringify(value);
}

function read(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function route() {
  const [view, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const params = {};
  for (const pair of query.split("&").filter(Boolean)) {
    const [name, value = ""] = pair.split(/=(.*)/s);
    params[decodeURIComponent(name)] = read(decodeURIComponent(value));
  }
  return { view: view || "runs", params };
}

function navigate(view, params) {
  location.hash = hashOf(view, params);
}

function remember(view, params) {
  const hash = hashOf(view, params);
  history.replaceState(null, "", hash);
  shown = hash;
}

function nav(view, params) {
  const link = (name) =>
    h("a", { href: hashOf(name, VIEWS[name].run ? { run: params.run } : {}), "aria-current": name === view ? "page" : null }, VIEWS[name].title);
  const names = Object.keys(VIEWS).filter((name) => !VIEWS[name].hidden);
  put(
    bar,
    h("a", { class: "brand", href: "#/runs" }, h("span", { class: "mark", "aria-hidden": "true" }), "Whence"),
    h("nav", { "aria-label": "Views" }, names.filter((name) => !VIEWS[name].run).map(link)),
    params.run ? h("nav", { class: "of-run", "aria-label": `Views of ${params.run}` }, h("span", { class: "run-name" }, params.run), names.filter((name) => VIEWS[name].run).map(link)) : null,
  );
  const here = bar.querySelector(".of-run [aria-current]");
  if (here) here.parentNode.scrollLeft = here.offsetLeft - here.parentNode.clientWidth / 2; // on a phone they scroll
}

async function show() {
  // An address inside the page, such as the skip link's, leaves the view as it is.
  if (location.hash && !location.hash.startsWith("#/")) {
    document.getElementById(location.hash.slice(1))?.focus();
    if (shown) history.replaceState(null, "", shown);
    return;
  }
  const { view, params } = route();
  const hash = hashOf(view, params);
  if (hash === shown) return;
  shown = hash;
  leave?.();
  leave = null;
  nav(view, params);
  document.title = printable(`${params.run ? params.run + " · " : ""}${VIEWS[view]?.title || view} · Whence`);
  const title = VIEWS[view]?.title || view;
  const el = h("section", { class: "view", "data-view": view, tabindex: "-1", "aria-label": params.run ? `${title} of ${params.run}` : title });
  put(main, el);
  if (moved) el.focus(); // the keyboard and the screen reader go on in the view, not at the top of the page
  moved = true;
  if (!VIEWS[view]) {
    put(el, h("h1", {}, "There is nothing here"), trouble(`There is no view called ${view}.`, button("Show the runs", () => navigate("runs", {}))));
    return;
  }
  const model = pageModel(view, params, { views: Object.keys(VIEWS), navigate, remember: (changed) => remember(view, changed) });
  let cleanUp = null;
  leave = () => {
    cleanUp?.();
    model.close();
  };
  try {
    const module = await import(`./views/${view}.js`);
    if (el.isConnected) cleanUp = module.default.render({ model, el });
  } catch (error) {
    put(el, trouble(error, button("Try again", () => location.reload())));
  }
}

addEventListener("hashchange", show);
enter().catch(() => {}).finally(show);
