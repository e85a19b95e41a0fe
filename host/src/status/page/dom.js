// Builds the page's nodes. Text is only ever set as text: records, plugins and logs are other people's bytes.

export const $ = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An element: `h("p", { class: "soft" }, "text", child)`. Strings become text. */
export const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

/** The same for SVG. */
export const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Sets a text where it differs, so that a selection in it survives. */
export function set(node, text) {
  text = String(text);
  if (node.textContent !== text) node.textContent = text;
}

/** Shows a node with this text, or hides it where there is none. */
export function show(node, text) {
  node.hidden = !text;
  set(node, text || "");
}

/** Sets an attribute where it differs. */
export function mark(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

const keys = new WeakMap();

/** Brings the children of `parent` in line with `items`: nodes are kept by key, so that focus and selection stay. */
export function list(parent, items, key, create, update = () => {}) {
  const old = new Map();
  for (const node of parent.children) if (keys.has(node)) old.set(keys.get(node), node);
  let at = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let node = old.get(name);
    old.delete(name);
    if (!node) {
      node = create(item);
      keys.set(node, name);
    }
    update(node, item);
    if (node === at) at = at.nextElementSibling;
    else parent.insertBefore(node, at);
  }
  for (const node of old.values()) node.remove();
}

/** Draws anew only when what is shown has changed. */
export function memo(draw) {
  let last;
  return (...values) => {
    const now = JSON.stringify(values);
    if (now === last) return;
    last = now;
    draw(...values);
  };
}

/** A line icon; the names are the keys below. */
export function icon(name) {
  return s("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, s("path", { d: ICONS[name] }));
}

const ICONS = {
  ok: "M3 8.5l3.2 3L13 4.5",
  warn: "M8 3v6M8 12.2v.3",
  bad: "M4 4l8 8M12 4l-8 8",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  play: "M5 3.5l7 4.5-7 4.5z",
  poll: "M13 8a5 5 0 1 1-1.6-3.7M13 2.5v3h-3",
  wait: "M8 2.5a5.5 5.5 0 1 0 .01 0M8 5v3.200l2 1.5",
  down: "M8 2.5v8M4.5 7.5L8 11l3.5-3.5M3 13.5h10",
  key: "M7.5 8a2.6 2.6 0 1 0-.01.01M7.5 8H14M11.2 8v2.6M14 8v2",
  theme: "M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11",
  pin: "M6 2.5h4M7 2.5v4L4.5 9h7L9 6.5v-4M8 9v4.5",
  bin: "M3 4.5h10M6.5 4.5v-2h3v2M4.5 4.5l.5 9h6l.5-9",
  back: "M6 3.5L2.5 7 6 10.5M2.5 7h7a4 4 0 0 1 0 6H7",
  right: "M6 3.5L10.5 8 6 12.5",
};
