// Questions, events and commands, the same in the page, in a notebook and in a still.
//
// Every request is one message through the model: {type, id, …}, answered by a custom message with
// the same id. `place` says where the view is drawn: "page", "notebook" or "still".

let last = 0;

function request(model, content) {
  const id = `${++last}-${Math.random()}`;
  return new Promise((resolve, reject) => {
    function heard(reply, buffers) {
      if (!reply || reply.id !== id) return;
      model.off("msg:custom", heard);
      if (reply.type === "error") reject(new Error(reply.message));
      else resolve(unpack(reply.answer, buffers || []));
    }
    model.on("msg:custom", heard);
    model.send({ ...content, id });
  });
}

// The name under which a still keeps an answer.
export function question(name, params) {
  const sorted = Object.keys(params || {}).sort();
  return JSON.stringify([name, sorted.map((key) => [key, params[key]])]);
}

export function ask(model, name, params) {
  if (model.get("place") !== "still") return request(model, { type: "ask", name, params: params || {} });
  const baked = (model.get("baked") || {})[question(name, params)];
  return baked ? Promise.resolve(baked) : Promise.reject(new Error("This file doesn't contain that answer: open the run in the studio."));
}

// The first answer: the one that came with the view, else asked for.
export function first(model, name, params) {
  const given = model.get("answer");
  return given ? Promise.resolve(given) : ask(model, name, params);
}

// Whether more can be asked than what came with the view.
export function asks(model) {
  return model.get("place") !== "still";
}

export function commands(model) {
  return model.get("place") === "page";
}

export function command(model, name, params) {
  if (commands(model)) return request(model, { type: "command", name, params: params || {} });
  return Promise.reject(new Error("Only the studio's page can do that: copy the command below instead."));
}

// Follow a run's training. `callback` is called with each frame, and with {lost: true} where the
// server is away. Returns a function that ends it.
export function subscribe(model, run, from, callback) {
  if (model.get("place") === "still") return () => {};
  if (model.get("place") !== "page") return poll(model, run, callback);
  const id = `${++last}-${Math.random()}`;
  function heard(reply) {
    if (reply && reply.id === id && reply.type === "event") callback(reply.event);
  }
  model.on("msg:custom", heard);
  model.send({ type: "subscribe", id, run, from });
  return () => {
    model.off("msg:custom", heard);
    model.send({ type: "unsubscribe", id });
  };
}

function poll(model, run, callback) {
  const timer = setInterval(async () => {
    try {
      callback({ whole: await ask(model, "live", { run }) });
    } catch {
      callback({ lost: true });
    }
  }, 2000);
  return () => clearInterval(timer);
}

export function go(model, view, params) {
  model.set("go", { view, params });
  model.save_changes();
}

export function remember(model, params) {
  model.set("params", params);
  model.save_changes();
}

const ARRAYS = { float32: Float32Array, float64: Float64Array, int32: Int32Array, uint8: Uint8Array };

// Put {shape, data} in the place of each {"$array": i, …}; buffers are DataViews or ArrayBuffers.
export function unpack(value, buffers) {
  if (Array.isArray(value)) return value.map((item) => unpack(item, buffers));
  if (value === null || typeof value !== "object") return value;
  if ("$array" in value) {
    const found = buffers[value.$array];
    const kind = ARRAYS[value.dtype];
    const [buffer, offset] = found instanceof ArrayBuffer ? [found, 0] : [found.buffer, found.byteOffset];
    const length = value.shape.reduce((a, b) => a * b, 1);
    if (offset % kind.BYTES_PER_ELEMENT === 0) return { shape: value.shape, data: new kind(buffer, offset, length) };
    return { shape: value.shape, data: new kind(buffer.slice(offset, offset + length * kind.BYTES_PER_ELEMENT)) };
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, unpack(item, buffers)]));
}
