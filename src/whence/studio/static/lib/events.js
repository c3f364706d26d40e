// A stream of server-sent events, read by fetch, since an EventSource can send no header.

export function follow(path, secret) {
  const ended = new AbortController();
  const source = { onopen() {}, onmessage() {}, onend() {}, close: () => ended.abort() };
  read(path, secret, source, ended.signal)
    .catch(() => {})
    .finally(() => ended.signal.aborted || source.onend());
  return source;
}

async function read(path, secret, source, signal) {
  const response = await fetch(path, { headers: { "x-whence-secret": secret }, signal });
  if (!response.ok) return;
  source.onopen();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done || signal.aborted) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const message = fields(event);
      if (message.data !== undefined && !signal.aborted) source.onmessage(message);
    }
  }
}

// `id: 3`, `data: {…}`, one a line; a line that begins with a colon is a comment.
function fields(event) {
  return Object.fromEntries(event.split("\n").map((line) => line.split(/: ?(.*)/s, 2)));
}
