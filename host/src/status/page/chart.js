// The page's charts, as SVG and lists that carry their values: a test, a screen reader and a style sheet can read them.

import { h, list, mark, memo, s, set, show } from "./dom.js";
import { count, plural, short } from "./format.js";

/** The next round number, as the top of an axis: one and a half digits. */
export function roundTop(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value * 0.999999);
}

const PAD = { left: 42, right: 12, top: 10, bottom: 22 };

/** A line over `[x, y]` points in the order of x, broken where more than `gap` lies between two. `x` and `y` write a value as text; `dots` marks each point. */
export function line(root, { name, x, y, gap = Infinity, dots = false, area = true, xTicks = 2, axis = short }) {
  const grid = s("g", { class: "grid" });
  const fill = s("path", { class: "area" });
  const path = s("path", { class: "line" });
  const marks = s("g", { class: "dots" });
  const cursor = s("g", { class: "cursor", hidden: true }, s("line", {}), s("circle", { r: 4.5 }));
  const svg = s("svg", { role: "img", tabindex: "0" }, grid, fill, path, marks, cursor);
  const tip = h("p", { class: "tip", hidden: true });
  root.append(svg, tip);
  let points = [];
  let looked = null;
  let place = { at: () => 0, of: () => 0 };

  function look(at) {
    looked = at;
    const point = at === null ? null : points[Math.max(0, Math.min(points.length - 1, at))];
    mark(cursor, "hidden", !point);
    tip.hidden = !point;
    if (!point) return;
    const [left, top] = [place.at(point[0]), place.of(point[1])];
    const [rule, circle] = cursor.children;
    mark(rule, "x1", left), mark(rule, "x2", left), mark(rule, "y1", PAD.top), mark(rule, "y2", root.clientHeight - PAD.bottom);
    mark(circle, "cx", left), mark(circle, "cy", top);
    set(tip, `${y(point[1])} · ${x(point[0])}`);
    const half = tip.offsetWidth / 2;
    tip.style.transform = `translate(${Math.max(0, Math.min(root.clientWidth - 2 * half, left - half))}px, ${Math.max(-6, top - tip.offsetHeight - 10)}px)`;
  }

  function draw(next = points) {
    points = next;
    const [width, height] = [root.clientWidth, root.clientHeight];
    if (!width || !height) return;
    mark(svg, "viewBox", `0 0 ${width} ${height}`);
    const last = points.at(-1);
    mark(svg, "aria-label", last ? `${name}: ${y(last[1])} at ${x(last[0])}; highest ${y(Math.max(...points.map((p) => p[1])))}` : `${name}: nothing yet`);
    const top = roundTop(Math.max(...points.map((point) => point[1]), 0));
    const [from, to] = points.length ? [points[0][0], last[0]] : [0, 1];
    const bottom = height - PAD.bottom;
    place = {
      at: (value) => (to === from ? (PAD.left + width - PAD.right) / 2 : PAD.left + ((value - from) / (to - from)) * (width - PAD.left - PAD.right)),
      of: (value) => bottom - (value / top) * (bottom - PAD.top),
    };
    rules(top, from, to, width, bottom);
    const ways = [];
    points.forEach((point, i) => (i && point[0] - points[i - 1][0] <= gap ? ways.at(-1).push(point) : ways.push([point])));
    const drawn = ways.map((way) => way.map(([a, b], i) => `${i ? "L" : "M"}${place.at(a).toFixed(1)} ${place.of(b).toFixed(1)}`).join(""));
    mark(path, "d", drawn.join(""));
    mark(fill, "d", area && points.length > 1 ? drawn.map((way, i) => `${way}L${place.at(ways[i].at(-1)[0]).toFixed(1)} ${bottom}L${place.at(ways[i][0][0]).toFixed(1)} ${bottom}Z`).join("") : null);
    list(marks, dots ? points : [], (point) => String(point[0]), () => s("circle", { r: 3 }), (dot, [a, b]) => {
      mark(dot, "cx", place.at(a).toFixed(1)), mark(dot, "cy", place.of(b).toFixed(1)), mark(dot, "data-x", a), mark(dot, "data-value", b);
    });
    if (looked !== null) look(looked);
  }

  const rules = memo((top, from, to, width, bottom) => {
    const rule = (value) => s("g", {}, s("line", { x1: PAD.left, x2: width - PAD.right, y1: place.of(value), y2: place.of(value) }), s("text", { x: PAD.left - 8, y: place.of(value) + 4, "text-anchor": "end" }, axis(value)));
    const ticks = points.length < 2 ? points.map((point) => point[0]) : Array.from({ length: xTicks }, (_, i) => (dots ? points[Math.round((i / (xTicks - 1)) * (points.length - 1))][0] : from + (i / (xTicks - 1)) * (to - from)));
    const under = (value, i) => s("text", { x: place.at(value), y: bottom + 17, "text-anchor": ticks.length < 2 ? "middle" : i === 0 ? "start" : i === ticks.length - 1 ? "end" : "middle" }, x(value));
    grid.replaceChildren(...[0, top / 2, top].map(rule), ...ticks.map(under));
  });

  const nearest = (event) => {
    if (!points.length) return null;
    const left = event.clientX - svg.getBoundingClientRect().left;
    return points.reduce((best, point, i) => (Math.abs(place.at(point[0]) - left) < Math.abs(place.at(points[best][0]) - left) ? i : best), 0);
  };
  svg.addEventListener("pointermove", (event) => look(nearest(event)));
  svg.addEventListener("pointerleave", () => look(null));
  svg.addEventListener("blur", () => look(null));
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !points.length) return;
    event.preventDefault();
    look(Math.max(0, Math.min(points.length - 1, (looked ?? points.length - 1) + step)));
  });
  new ResizeObserver(() => draw()).observe(root);
  return draw;
}

// A name keeps its colour while it is shown, whatever its rank.
function palette() {
  const known = new Map();
  let next = 0;
  return (name) => {
    if (!known.has(name)) known.set(name, next++ % 6);
    if (known.size > 100) known.delete(known.keys().next().value);
    return known.get(name);
  };
}

const R = 54;
const ROUND = 2 * Math.PI * R;

/** A donut of `{ name, count }`, with the whole in its middle and each share beside it. */
export function donut(root, { name, whole = "records" }) {
  const ring = s("g", { class: "ring", transform: "rotate(-90 70 70)" });
  const middle = s("text", { class: "middle", x: 70, y: 72, "text-anchor": "middle" });
  const under = s("text", { class: "under", x: 70, y: 90, "text-anchor": "middle" }, whole);
  const svg = s("svg", { viewBox: "0 0 140 140", role: "img" }, s("circle", { class: "track", cx: 70, cy: 70, r: R }), ring, middle, under);
  const legend = h("ul", { class: "legend" });
  root.append(svg, legend);
  const colour = palette();
  return (shares) => {
    const total = shares.reduce((sum, share) => sum + share.count, 0);
    let before = 0;
    const arcs = shares.map((share) => {
      const arc = { ...share, from: before, length: total ? (share.count / total) * ROUND : 0 };
      before += arc.length;
      return arc;
    });
    set(middle, short(total));
    mark(svg, "aria-label", `${name}: ${shares.map((share) => `${share.name} ${count(share.count)}`).join(", ") || "nothing yet"}`);
    const gap = arcs.filter((arc) => arc.length > 0).length > 1 ? 2 : 0;
    list(ring, arcs, (arc) => arc.name, (arc) => s("circle", { cx: 70, cy: 70, r: R, "data-colour": colour(arc.name), "data-name": arc.name }), (node, arc) => {
      mark(node, "stroke-dasharray", `${Math.max(0, arc.length - gap).toFixed(2)} ${ROUND.toFixed(2)}`);
      mark(node, "stroke-dashoffset", (-arc.from).toFixed(2));
      mark(node, "data-value", arc.count);
    });
    list(legend, shares, (share) => share.name, (share) => h("li", { "data-colour": colour(share.name) }, h("bdi", {}, share.name), h("b", {}), h("small", {})), (node, share) => {
      set(node.children[1], count(share.count));
      set(node.children[2], total ? `${((share.count / total) * 100).toFixed(0)} %` : "");
    });
  };
}

/** Bars of `{ name, count }`, longest first; what is left is told below. */
export function bars(root, { name }) {
  const rows = h("ol", { class: "bars", "aria-label": name });
  const rest = h("p", { class: "rest", hidden: true });
  root.append(rows, rest);
  return (items, others = 0, note = "") => {
    const most = Math.max(...items.map((item) => item.count), 1);
    list(rows, items, (item) => item.name, (item) => h("li", { "data-name": item.name }, h("bdi", { title: item.name }, item.name), h("b", {}), h("span", { class: "track", "aria-hidden": "true" }, h("span", {}))), (node, item) => {
      set(node.children[1], count(item.count));
      mark(node, "data-value", item.count);
      node.querySelector(".track > span").style.width = `${((item.count / most) * 100).toFixed(2)}%`;
    });
    show(rest, [others ? `${plural(others, "record")} with other values` : "", note].filter(Boolean).join(" · "));
  };
}

/** Upright bars over `{ from, to, count }`, in the order given. */
export function histogram(root, { name, axis = short }) {
  const svg = s("svg", { role: "img", class: "columns" });
  root.append(svg);
  let bins = [];
  const draw = (next = bins) => {
    bins = next;
    const [width, height] = [root.clientWidth, root.clientHeight];
    if (!width || !height) return;
    mark(svg, "viewBox", `0 0 ${width} ${height}`);
    mark(svg, "aria-label", `${name}: ${bins.map((bin) => `${axis(bin.from)} to ${axis(bin.to)}: ${count(bin.count)}`).join(", ") || "nothing yet"}`);
    const most = Math.max(...bins.map((bin) => bin.count), 1);
    const wide = (width - 8) / Math.max(bins.length, 1);
    const tall = height - PAD.bottom - 16;
    svg.replaceChildren(
      ...bins.map((bin, i) => {
        const high = (bin.count / most) * tall;
        const column = s("rect", { x: 4 + i * wide + 1, width: Math.max(1, wide - 2), y: 16 + tall - high, height: high, rx: 2, "data-from": bin.from, "data-to": bin.to, "data-value": bin.count });
        column.append(s("title", {}, `${axis(bin.from)} to ${axis(bin.to)}: ${count(bin.count)}`));
        return column;
      }),
      ...(bins.length ? [s("text", { x: 4, y: height - 5 }, axis(bins[0].from)), s("text", { x: width - 4, y: height - 5, "text-anchor": "end" }, axis(bins.at(-1).to))] : []),
    );
  };
  new ResizeObserver(() => draw()).observe(root);
  return draw;
}
