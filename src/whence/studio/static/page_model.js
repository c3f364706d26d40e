// The studio's page as an anywidget model: get, set, on, off, save_changes and send, and no more.

import { follow as events } from "./lib/events.js";
import { front, tellOthers, turns } from "./lib/front.js";
import { secret } from "./lib/secret.js";

const AWAY = 5000; // ms without a connection until it is said
const AGAIN = 2000; // ms until it is tried again
const NEWS = 10000; // ms between two frames of a page that isn't the one last used

export function pageModel(view, params, { views, navigate, remember }) {
  const traits = { place: "page", views, view, params, answer: null, go: null };
  const listeners = new Map();
  const changed = new Set();
  const streams = new Map();

  function emit(name, ...args) {
    for (const listener of [...(listeners.get(name) || [])]) listener(...args);
  }

  async function reply(id, path, body) {
    try {
      const [answer, buffers] = await post(path, body);
      emit("msg:custom", { type: "answer", id, answer }, buffers);
    } catch (error) {
      emit("msg:custom", { type: "error", id, message: error.message }, []);
    }
  }

  // Only a page that is seen holds a connection, of which a browser has six to one server; and of
  // those only the one last used, as every frame takes time from the training. The others come
  // for one frame now and then, and when a page hears that the training began or ended.
  function follow(entry) {
    clearTimeout(entry.timer);
    if (document.hidden || entry.source) return;
    const source = events(`/events?run=${encodeURIComponent(entry.run)}&from=${entry.from}`, secret());
    entry.source = source;
    const back = () => {
      clearTimeout(entry.lost);
      entry.lost = null;
    };
    source.onopen = back;
    source.onmessage = (message) => {
      entry.from = Number(message.id);
      const event = JSON.parse(message.data);
      if (front() && event.state && event.state !== entry.state) tellOthers();
      entry.state = event.state ?? entry.state;
      if (!front() && event.state) {
        rest(entry);
        entry.timer = setTimeout(() => follow(entry), NEWS);
      }
      emit("msg:custom", { type: "event", id: entry.id, event }, []);
    };
    source.onend = () => {
      if (entry.source !== source) return;
      entry.lost ??= setTimeout(() => emit("msg:custom", { type: "event", id: entry.id, event: { lost: true } }, []), AWAY);
      entry.source = null;
      entry.timer = setTimeout(() => follow(entry), AGAIN);
    };
  }

  function rest(entry) {
    entry.source?.close();
    entry.source = null;
    clearTimeout(entry.timer);
    clearTimeout(entry.lost);
    entry.lost = null;
  }

  const seen = () => streams.forEach(document.hidden ? rest : follow);
  document.addEventListener("visibilitychange", seen);
  turns.addEventListener("look", seen);

  return {
    get: (name) => traits[name],
    set(name, value) {
      traits[name] = value;
      changed.add(name);
    },
    save_changes() {
      const names = [...changed];
      changed.clear();
      if (names.includes("params")) remember(traits.params);
      if (names.includes("go") && traits.go) navigate(traits.go.view, traits.go.params || {});
      for (const name of names) emit(`change:${name}`);
    },
    on(name, listener) {
      listeners.set(name, [...(listeners.get(name) || []), listener]);
    },
    off(name, listener) {
      listeners.set(name, (listeners.get(name) || []).filter((each) => each !== listener && listener));
    },
    send(content) {
      const { type, id } = content;
      if (type === "ask") reply(id, `/ask/${content.name}`, content.params);
      else if (type === "command") reply(id, `/do/${content.name}`, content.params);
      else if (type === "subscribe") {
        streams.set(id, { id, run: content.run, from: content.from, source: null, lost: null, timer: null, state: null });
        follow(streams.get(id));
      } else if (type === "unsubscribe") {
        if (streams.has(id)) rest(streams.get(id));
        streams.delete(id);
      }
    },
    close() {
      document.removeEventListener("visibilitychange", seen);
      turns.removeEventListener("look", seen);
      streams.forEach(rest);
      streams.clear();
      listeners.clear();
    },
  };
}

async function post(path, body) {
  let response;
  try {
    response = await fetch(path, { method: "POST", headers: { "content-type": "application/json", "x-whence-secret": secret() }, body: JSON.stringify(body) });
  } catch {
    throw new Error("The studio is no longer running: start it again with 'whence studio', and open the address that it prints.");
  }
  if (!response.ok) throw new Error(await said(response));
  return opened(await response.arrayBuffer());
}

async function said(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).message;
  } catch {
    return text || `The studio answered ${response.status}.`;
  }
}

// The JSON and the buffers of a packed answer; see wire.py.
function opened(data) {
  const length = new DataView(data).getUint32(0, true);
  const answer = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  const found = [];
  (function look(value) {
    if (Array.isArray(value)) value.forEach(look);
    else if (value && typeof value === "object") {
      if ("$array" in value) found.push(value);
      else Object.values(value).forEach(look);
    }
  })(answer);
  const sizes = { float32: 4, float64: 8, int32: 4, uint8: 1 };
  const buffers = [];
  let place = Math.ceil((4 + length) / 8) * 8;
  for (const item of found) {
    const size = item.shape.reduce((a, b) => a * b, 1) * sizes[item.dtype];
    buffers[item.$array] = new DataView(data, place, size);
    place += Math.ceil(size / 8) * 8;
  }
  return [answer, buffers];
}
