// Logs: one place for host, plugins, clients and followed files. Control characters are shown, never obeyed.

import { h, icon, list, mark, set } from "./dom.js";
import { clock, count, exactly, plural, visible } from "./format.js";
import { get } from "./host.js";

/** Lines kept in the page; the oldest goes first. */
const LINES_MAX = 1000;
const LEVELS = ["error", "warn", "info", "debug", "trace"];

const nodes = {};
let root;
let timer = null;
let next = 0;
let lines = [];
let lost = 0;
let follow = true;
const off = new Set();
let known = [];
let asking = 0;

export function start(into) {
  root = into;
  nodes.level = h("select", { class: "field", "aria-label": "Level", onchange: afresh }, ...LEVELS.map((level) => h("option", { value: level, selected: level === "trace" }, level === "trace" ? "all levels" : level === "error" ? "errors" : `${level} and worse`)));
  nodes.text = h("input", { class: "field", type: "search", placeholder: "Text", "aria-label": "Lines that contain", oninput: () => (clearTimeout(timer), (timer = setTimeout(afresh, 200))) });
  nodes.components = h("div", { class: "row", role: "group", "aria-label": "Components" });
  nodes.follow = h("button", { class: "do", type: "button", "aria-pressed": "true", onclick: () => setFollow(!follow) }, icon("down"), "Follow");
  nodes.download = h("a", { class: "do", href: "/api/logs/download", download: "" }, icon("down"), "Download");
  nodes.said = h("p", { class: "soft small" });
  nodes.lines = h("ol", { class: "log", tabindex: "0", "aria-label": "Log lines" });
  nodes.none = h("p", { class: "empty", hidden: true }, "No line matches.");
  nodes.lines.addEventListener("scroll", () => {
    const bottom = nodes.lines.scrollHeight - nodes.lines.scrollTop - nodes.lines.clientHeight < 24;
    if (follow && !bottom && nodes.lines.matches(":hover, :focus-within, :focus")) setFollow(false);
  });
  root.append(h("div", { class: "lede" }, h("div", {}, h("h2", {}, "Logs"), nodes.said), h("div", { class: "row" }, nodes.level, nodes.text, nodes.follow, nodes.download)), nodes.components, h("div", { class: "card logbox" }, nodes.lines, nodes.none));
}

export const shown = () => ask();
export const hidden = () => clearTimeout(timer);

function setFollow(on) {
  follow = on;
  mark(nodes.follow, "aria-pressed", on);
  if (on) ask();
}

function filters() {
  const query = new URLSearchParams();
  if (nodes.level.value !== "trace") query.set("level", nodes.level.value);
  const on = known.filter((component) => !off.has(component));
  if (off.size) query.set("component", on.join(","));
  if (nodes.text.value) query.set("text", nodes.text.value);
  return query;
}

/** The filter has changed: the lines are asked for again. */
function afresh() {
  next = 0;
  lines = [];
  lost = 0;
  nodes.download.setAttribute("href", `/api/logs/download?${filters()}`);
  ask();
}

async function ask() {
  clearTimeout(timer);
  const mine = ++asking;
  const query = filters();
  query.set("from", next);
  query.set("limit", "500");
  try {
    const answer = await get(`/api/logs?${query}`);
    if (mine !== asking) return;
    // A host that was started again counts afresh.
    if (answer.next < next) return afresh();
    lines = [...lines, ...answer.lines].slice(-LINES_MAX);
    lost += next ? answer.lost : 0;
    next = answer.next;
    drawComponents(answer.components);
    drawLines();
  } catch {
    // The page says that the connection is lost; here it is simply asked again.
  }
  if (mine === asking && follow && !root.hidden) timer = setTimeout(ask, 1000);
}

function drawComponents(components) {
  known = components;
  list(nodes.components, components, (name) => name, (name) => {
    const toggle = h("button", { class: "do chip", type: "button", "aria-pressed": "true", onclick: () => (off.has(name) ? off.delete(name) : off.add(name), mark(toggle, "aria-pressed", !off.has(name)), afresh()) }, name);
    return toggle;
  });
}

function drawLines() {
  set(nodes.said, lines.length ? `${plural(lines.length, "line")}, the latest of the host, its plugins and its clients${lost ? `; ${count(lost)} went by too fast to be kept` : ""}.` : "The host, its plugins and its clients, in one place.");
  nodes.none.hidden = lines.length > 0;
  nodes.lines.hidden = !lines.length;
  set(nodes.none, `${filters()}` ? "No line matches." : "Nothing was logged yet: all is quiet.");
  list(nodes.lines, lines, (line) => String(line.number), (line) => h("li", { "data-level": line.level, "data-number": line.number }, h("time", { title: exactly(line["at-ms"]) }, clock(line["at-ms"])), h("b", {}, line.level), h("span", { class: "from" }, visible(line.component === line.from || !line.from ? line.component : `${line.component} · ${line.from}`)), h("span", { class: "text" }, visible(line.text))));
  if (follow) nodes.lines.scrollTop = nodes.lines.scrollHeight;
}
