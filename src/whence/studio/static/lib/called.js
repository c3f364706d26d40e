// What people call a tensor that only its operation named: `head.to_copy#2[0,3,7]` is
// `head[0,3,7], rounded to bfloat16 (2)`. The raw name stands behind on hover.

// `words`: raw name → [where, what was done there], as an answer brings it. Returns a function of an
// address, with `tensor` for a name that may have a remark in brackets behind it.
export function caller(words) {
  function called(address) {
    const [, name, index, quantity] = address.match(/^(.*?)(\[[^\]]*\])?((?:\.(?:grad|after|update))*)$/s);
    const known = words?.[name];
    if (!known) return address;
    const [place, what] = known;
    const own = place ? `${place}${index || ""}, ${what}` : `${what}${index || ""}`;
    return own + (quantity === ".grad" ? ", gradient" : quantity);
  }
  called.tensor = (text) => called(text.split(" (")[0]);
  return called;
}
