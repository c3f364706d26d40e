// What a page shows the studio it came from: kept for this address and port alone, so that no other
// port of the machine is sent it, as it would be a cookie.

const KEY = "whence-secret";

export function secret() {
  return localStorage.getItem(KEY) || "";
}

// The address that the page was opened by holds a code, which is good once; see door.py.
export async function enter() {
  const code = new URLSearchParams(location.search).get("code");
  if (code === null) return;
  history.replaceState(null, "", location.pathname + location.hash);
  const response = await fetch("/enter", { method: "POST", body: code });
  if (response.ok) localStorage.setItem(KEY, (await response.json()).secret);
}
