// Pipeline: the graph as it runs, and records before and after a stage.

import { h, icon, list, mark, memo, set, show } from "./dom.js";
import { clock, count, plural, visible } from "./format.js";
import { graph } from "./graph.js";
import { get } from "./host.js";
import { partitions } from "./partitions.js";

let drawing;
let panel;
let topic;
/** The part that is chosen, and the stage if it is one. */
let part = null;
let chosen = null;
let frozen = false;
let answer = null;
let picked = null;
let timer = null;
const parts = {};

export function start(root, goTo) {
  const canvas = h("div", { class: "canvas" });
  panel = h("section", { class: "card samples", "aria-label": "Before and after", hidden: true });
  topic = partitions(() => choose(part));
  const hint = h("p", {}, "As it runs now. Choose the topic to see its partitions.");
  root.append(
    h("div", { class: "lede" }, h("div", {}, h("h2", {}, "The way of a record"), hint)),
    canvas,
    topic.node,
    panel,
  );
  drawing = graph(canvas, { choose, letters: () => goTo("dead-letters") });
  build();
  get("/api/samples?limit=1").then(
    () => {
      set(hint, "As it runs now. Choose a stage to see records before and after it, or the topic to see its partitions.");
      drawing.allow();
    },
    () => {},
  );
}

export const draw = (status) => {
  drawing.draw(status);
  topic.draw(status);
  if (chosen && !status.stages.some((stage) => stage.name === chosen)) choose(part);
};

function build() {
  parts.title = h("h3", {});
  parts.seen = h("p", { class: "soft" });
  parts.search = h("input", { class: "field", type: "search", placeholder: "Search fields and values", "aria-label": "Search the samples", oninput: () => drawSamples() });
  parts.freeze = h("button", { class: "do", type: "button", "aria-pressed": "false", onclick: freeze }, icon("pause"), "Freeze");
  parts.list = h("ul", { class: "places", "aria-label": "Sampled records" });
  parts.detail = h("div", { class: "pair", "aria-live": "off" });
  parts.none = h("p", { class: "empty" });
  panel.append(
    h("div", { class: "lede" }, h("div", {}, parts.title, parts.seen), h("div", { class: "row" }, parts.search, parts.freeze, h("button", { class: "do bare", type: "button", "aria-label": "Close", onclick: () => choose(part) }, icon("bad")))),
    h("div", { class: "both" }, parts.list, parts.detail),
    parts.none,
  );
}

function choose(id) {
  part = part === id ? null : id;
  chosen = part?.startsWith("stage ") ? part.slice("stage ".length) : null;
  answer = picked = null;
  if (frozen) freeze();
  panel.hidden = !chosen;
  topic.node.hidden = part !== "topic";
  drawing.mark(part);
  set(parts.title, chosen ? `Before and after ${chosen}` : "");
  drawSamples();
  ask();
  if (part) (chosen ? panel : topic.node).scrollIntoView({ block: "nearest", behavior: "smooth" });
}

function freeze() {
  frozen = !frozen;
  mark(parts.freeze, "aria-pressed", frozen);
  if (!frozen) ask();
}

/** Asking keeps the sampling on; who does not look costs nothing. */
async function ask() {
  clearTimeout(timer);
  const stage = chosen;
  if (!stage || frozen || panel.closest("[hidden]")) return;
  try {
    const next = await get(`/api/stages/${encodeURIComponent(stage)}/samples?limit=20`);
    if (stage !== chosen || frozen) return;
    answer = next;
    drawSamples();
  } catch (error) {
    if (stage === chosen) show(parts.none, error.message);
  }
  timer = setTimeout(ask, 1000);
}

export const hidden = () => clearTimeout(timer);
export const shown = () => ask();

const place = (sample) => `${sample.partition}/${sample.offset}`;
const OUTCOMES = { emitted: "good", dropped: "calm", deleted: "calm", rejected: "bad" };

function drawSamples() {
  const all = answer?.samples || [];
  const wanted = parts.search.value.trim().toLowerCase();
  const found = all.filter((sample) => !wanted || JSON.stringify([sample.before, sample.after, sample.reason, place(sample)]).toLowerCase().includes(wanted));
  // The one that is looked at stays, also after it has left the list.
  const one = picked && (found.find((sample) => place(sample) === place(picked)) || picked);
  const shownOne = one || found[0];
  set(parts.seen, answer ? `${plural(found.length, "record")} shown${found.length < all.length ? ` of ${all.length} sampled` : ""}; ${count(answer["not-shown"])} passed since sampling began and are not shown` : "Waiting for the first records…");
  list(parts.list, found, place, (sample) => {
    const choose = () => {
      picked = picked && place(picked) === place(sample) ? null : sample;
      drawSamples();
    };
    return h("li", {}, h("button", { type: "button", onclick: choose }, h("b", { class: "num" }, place(sample)), h("span", { class: `pill ${OUTCOMES[sample.outcome] || ""}` }, sample.outcome), h("small", {}, clock(sample["at-ms"]))));
  }, (node, sample) => mark(node.firstChild, "aria-pressed", Boolean(shownOne) && place(sample) === place(shownOne)));
  show(parts.none, answer && !found.length ? (all.length ? "No sampled record contains that." : "No record has passed this stage since you began to look.") : "");
  drawPair(shownOne || null);
}

const value = (value) => {
  if (value === undefined) return h("td", { class: "none" }, "");
  if (value === null) return h("td", { class: "none" }, "null");
  const text = typeof value === "object" ? JSON.stringify(value, null, 1) : String(value);
  return h("td", { dir: "auto" }, visible(text));
};

const drawPair = memo((sample) => {
  if (!sample) return parts.detail.replaceChildren();
  const before = sample.before || {};
  const after = sample.after || {};
  const changed = new Set(sample.changed);
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  // What the stage did comes first.
  names.sort((a, b) => changed.has(b) - changed.has(a));
  const rows = names.map((name) => {
    const is = changed.has(name);
    const fresh = is && !(name in before);
    return h("tr", { class: is ? "changed" : null, "data-field": name }, h("th", { scope: "row" }, h("span", { class: "mark", "aria-hidden": "true" }, is ? (fresh ? "+" : "~") : ""), name, is && h("span", { class: "unseen" }, fresh ? " (new)" : " (changed)")), value(before[name]), sample.after ? value(after[name]) : h("td", { class: "none" }, ""));
  });
  parts.detail.replaceChildren(
    h("p", { class: "soft" }, `Partition ${sample.partition}, offset ${sample.offset}, generation ${sample.generation}, ${sample.outcome}`),
    sample.reason ? h("p", { class: "error" }, visible(sample.reason)) : "",
    h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Field"), h("th", { scope: "col" }, "Before"), h("th", { scope: "col" }, sample.after ? "After" : "After: nothing came out"))), h("tbody", {}, ...rows)),
  );
});
