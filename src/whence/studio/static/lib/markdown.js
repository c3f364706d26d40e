// The little Markdown that lessons are written in, as nodes: headings, paragraphs, lists, tables,
// code, bold, italics, links. A link to #block becomes a button that lights up a picture's block.

import { h, scrolls } from "./dom.js";

export function markdown(text, light) {
  return blocks(text).map(([kind, lines]) => {
    if (kind === "code") return h("pre", {}, h("code", {}, lines.join("\n")));
    if (kind === "table") return table(lines, light);
    if (kind === "list") return list(lines, light);
    const [, marks, rest] = lines[0].match(/^(#{1,4}) (.*)$/) || [];
    if (marks) return h(`h${Math.max(2, marks.length)}`, {}, inline(rest, light));
    return h("p", {}, inline(lines.join(" "), light));
  });
}

function blocks(text) {
  const found = [];
  let fence = null;
  for (const line of text.split("\n")) {
    if (line.startsWith("```")) {
      if (fence) fence = null;
      else found.push((fence = ["code", []]));
    } else if (fence) fence[1].push(line);
    else if (!line.trim()) found.push(null);
    else {
      const last = found[found.length - 1];
      // A number begins a list inside of a paragraph only where it is 1.
      const item = last?.[0] === "text" ? /^\s*([-*]|1\.) / : /^\s*([-*]|\d{1,3}\.) /;
      const kind = line.startsWith("|") ? "table" : item.test(line) ? "list" : "text";
      const goes = last && (last[0] === kind || (last[0] === "list" && /^\s/.test(line))) && !line.startsWith("#") && !last[1][0]?.startsWith("#");
      if (goes) last[1].push(line);
      else found.push([kind, [line]]);
    }
  }
  return found.filter(Boolean);
}

function list(lines, light) {
  const items = [];
  for (const line of lines) {
    const found = line.match(/^\s*(?:[-*]|\d+\.) (.*)$/);
    if (found) items.push(found[1]);
    else items[items.length - 1] += ` ${line.trim()}`;
  }
  return h(/^\s*\d/.test(lines[0]) ? "ol" : "ul", {}, items.map((item) => h("li", {}, inline(item, light))));
}

function table(lines, light) {
  const rows = lines.map((line) => line.replace(/^\||\|\s*$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|")));
  const ruled = rows[1]?.every((cell) => /^:?-+:?$/.test(cell));
  const [head, body] = ruled ? [rows[0], rows.slice(2)] : [null, rows];
  const right = ruled ? rows[1].map((cell) => cell.endsWith(":")) : [];
  const cells = (row, tag) => row.map((cell, i) => h(tag, { class: right[i] ? "n" : null, scope: tag === "th" ? "col" : null }, inline(cell, light)));
  return h("div", scrolls("Table"), h("table", {}, head ? h("thead", {}, h("tr", {}, cells(head, "th"))) : null, h("tbody", {}, body.map((row) => h("tr", {}, cells(row, "td"))))));
}

const INLINE = /`([^`]+)`|\*\*(.+?)\*\*|\[([^\]]+)\]\(([^)\s]+)\)|\*(\S(?:.*?\S)??)\*/;

function inline(text, light) {
  const found = text.match(INLINE);
  if (!found) return [text];
  const before = text.slice(0, found.index);
  const after = inline(text.slice(found.index + found[0].length), light);
  const [, code, bold, label, target, italic] = found;
  const node = code !== undefined ? h("code", {}, code) : bold !== undefined ? h("strong", {}, inline(bold, light)) : italic !== undefined ? h("em", {}, inline(italic, light)) : target.startsWith("#") ? light(label, target.slice(1)) : h("span", {}, label);
  return [before, node, ...after];
}
