// Plugins: what runs in each stage, what it may, what its latest build came to, and every swap there was.

import { button, dialog, say } from "./act.js";
import { h, icon, list, mark, memo, set } from "./dom.js";
import { bytes, count, exactly, micros, millis, moment, plural, rate, visible } from "./format.js";
import { get, post } from "./host.js";

const STATES = { building: "calm", compiling: "calm", waiting: "calm", shadow: "calm", refused: "bad", parked: "warn", quarantined: "bad" };
const OUTCOMES = { applied: "good", refused: "bad", parked: "warn", shadowing: "calm", waiting: "calm", "rolled-back": "warn", restarted: "good", discarded: "calm" };

let root;
let timer = null;
let newest = null;
/** Whether the host answers this route at all: what it cannot do is not offered. */
let reloads = false;
const cards = new Map();
const nodes = {};

export function start(into) {
  root = into;
  nodes.file = h("div", { hidden: true });
  nodes.stages = h("div", { class: "stages" });
  nodes.receipts = h("ol", { class: "receipts" });
  nodes.noReceipts = h("p", { class: "soft" }, "No plugin has been changed since this store was made.");
  nodes.history = h("section", { class: "card history", "aria-labelledby": "history-title", hidden: true }, h("h3", { id: "history-title" }, "Receipts"), h("p", { class: "soft small" }, "Every attempt to change what runs, newest first."), nodes.noReceipts, nodes.receipts);
  nodes.none = h("div", { class: "card empty", hidden: true }, h("b", {}, "No stages"), "Records go from the topic to the sink as they are.");
  root.append(h("div", { class: "lede" }, h("div", {}, h("h2", {}, "Plugins"), h("p", {}, "What runs in each stage, in its sandbox: what it was given, and nothing else."))), nodes.file, h("div", { class: "columns-2" }, h("div", {}, nodes.stages, nodes.none), nodes.history));
}

export const shown = () => ask();
export const hidden = () => clearTimeout(timer);

async function ask() {
  clearTimeout(timer);
  const optional = (path) => get(path).catch(() => null);
  const [stages, receipts] = await Promise.all([optional("/api/stages"), optional("/api/receipts?limit=50")]);
  reloads = receipts !== null;
  const shadows = await Promise.all((newest?.stages || []).map((stage) => (stage.candidate?.state === "shadow" ? optional(`/api/stages/${encodeURIComponent(stage.name)}/shadow`) : null)));
  if (stages) drawStages(stages, new Map(shadows.filter(Boolean).map((shadow) => [shadow.stage, shadow])));
  nodes.history.hidden = !reloads;
  if (receipts) drawReceipts(receipts);
  if (!root.hidden) timer = setTimeout(ask, 2000);
}

export function draw(status) {
  newest = status;
  drawFile(status.file || null);
  for (const stage of status.stages) cards.get(stage.name)?.now(stage, status["at-ms"]);
}

// ---- the pipeline file

const place = (diagnostic) => (diagnostic.line ? `${diagnostic.file || ""}:${diagnostic.line}${diagnostic.column ? `:${diagnostic.column}` : ""}` : diagnostic.file || "");

export function diagnostics(all) {
  return all.map((one) => {
    if (typeof one === "string") return h("pre", { class: "error" }, visible(one));
    const head = `${one.severity || "error"}[${one.code || ""}]: ${one.message || ""}`;
    return h("pre", { class: "error" }, visible([head, place(one) && `  --> ${place(one)}`, one.help && `  = help: ${one.help}`].filter(Boolean).join("\n")));
  });
}

const drawFile = memo((file) => {
  const wrong = (file?.diagnostics || []).filter((one) => one.severity !== "warning");
  nodes.file.hidden = !wrong.length;
  nodes.file.replaceChildren(...(wrong.length ? [h("p", { class: "note bad" }, `${file.path} as it is saved now cannot run; what was saved before goes on.`), ...diagnostics(wrong)] : []));
});

// ---- one stage

function drawStages(stages, shadows) {
  nodes.none.hidden = stages.length > 0;
  list(nodes.stages, stages, (stage) => stage.name, (stage) => {
    const card = new Card(stage.name);
    cards.set(stage.name, card);
    return card.node;
  }, (_, stage) => {
    cards.get(stage.name).draw(stage, shadows.get(stage.name) || null);
    const now = newest?.stages.find((one) => one.name === stage.name);
    if (now) cards.get(stage.name).now(now, newest["at-ms"]);
  });
}

const kinds = (fields) => (fields.length ? h("ul", { class: "fields" }, ...fields.map((field) => h("li", {}, h("span", { class: "mono" }, field.name), h("small", {}, `${field.kind}${field.optional ? "?" : ""}`)))) : h("p", { class: "soft" }, "nothing"));

const pairs = (values) => h("dl", { class: "pairs" }, ...values.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

function meter(name, used, most, text) {
  const share = most ? used / most : 0;
  const bar = h("span", { class: "track", "aria-hidden": "true" }, h("span", { class: share > 0.8 ? "high" : null }));
  bar.firstChild.style.width = `${Math.min(100, share * 100).toFixed(1)}%`;
  return h("div", { class: "meter" }, h("span", {}, name), h("b", {}, text(used)), h("small", {}, most ? `of ${text(most)}` : ""), bar);
}

class Card {
  constructor(name) {
    this.name = name;
    this.state = h("span", { class: "pill" });
    this.tags = h("span", { class: "row" });
    this.actions = h("div", { class: "row actions" });
    this.candidate = h("div", { class: "candidate", hidden: true });
    this.shadow = h("div", { class: "shadow", hidden: true });
    this.figures = h("p", { class: "soft num small" });
    this.body = h("div", { class: "facts" });
    this.node = h("article", { class: "card plugin", "aria-label": `Stage ${name}`, "data-stage": name }, h("header", {}, h("div", {}, h("h3", {}, h("bdi", {}, name), " ", this.state), this.tags), this.actions), this.candidate, this.shadow, this.body, this.figures);
    this.use = h("div", {});
    this.drawUse = memo((memory, call, table) => this.use.replaceChildren(meter("memory", ...memory, bytes), meter("CPU of the slowest call", ...call, millis), meter("table elements", ...table, count)));
    this.drawBody = memo((stage) => this.fill(stage));
    this.drawShadow = memo((shadow) => this.fillShadow(shadow));
    this.drawChoices = memo((state) => this.fillChoices(state));
  }

  draw(stage, shadow) {
    if (reloads && !this.actions.children.length) this.actions.append(button("Reload", "poll", () => this.ask("reload", { force: false }), { title: "Read the plugin again, as if it had been saved" }), button("Roll back", "back", () => this.rollBack(), { title: "Go back to an earlier generation" }));
    this.drawBody(stage);
    this.drawShadow(shadow);
  }

  /** What moves twice a second. */
  now(stage, at) {
    set(this.figures, [plural(stage.rows, "row"), `${rate(stage["records-per-second"])}/s`, stage["micros-per-record"] && `${micros(stage["micros-per-record"])} a record`, `${count(stage.rejected)} rejected`, `${count(stage.dropped)} dropped`, plural(stage.traps, "trap")].filter(Boolean).join(" · "));
    this.drawUse([stage["memory-bytes"], stage["memory-limit-bytes"]], [stage["slowest-call-ms"], stage["call-limit-ms"]], [stage["table-elements"], stage["table-limit-elements"]]);
    const candidate = stage.candidate;
    set(this.state, candidate ? candidate.state : stage.state || "live");
    this.state.className = `pill ${candidate ? STATES[candidate.state] || "calm" : "good"}`;
    this.candidate.hidden = !candidate;
    if (!candidate) return;
    const busy = candidate.state === "compiling" || candidate.state === "building";
    const says = busy ? `The new build is ${candidate.state}, ${millis(Math.max(0, at - candidate["since-ms"]))} so far; generation ${stage.generation} goes on.` : `The latest build${candidate.digest ? ` (${candidate.digest.slice(0, 12)})` : ""} is ${candidate.state === "shadow" ? "running beside the old code" : candidate.state}, since ${moment(candidate["since-ms"])}; generation ${stage.generation} goes on.`;
    if (!this.candidate.children.length) this.candidate.append(h("p", {}), h("pre", { class: "error" }), h("div", { class: "row" }));
    const [line, reason] = this.candidate.children;
    set(line, says);
    reason.hidden = !candidate.reason;
    set(reason, visible(candidate.reason || ""));
    mark(this.candidate, "data-tone", STATES[candidate.state]);
    this.drawChoices(candidate.state);
  }

  /** What a person may do about the latest build; of one that runs beside, the comparison has the buttons. */
  fillChoices(state) {
    const waiting = [button("Discard", "bin", () => this.ask("discard"), { kind: "harm" }), button("Promote", "ok", () => this.ask("promote"), { kind: "main" })];
    const again = [button("Try it again", "poll", () => this.ask("reload", { force: true }))];
    this.candidate.lastChild.replaceChildren(...(state === "waiting" ? waiting : state === "quarantined" ? again : []));
  }

  fill(stage) {
    this.tags.replaceChildren(h("span", { class: "pill accent" }, `generation ${stage.generation}`), h("span", { class: "pill" }, stage.language || "unknown language"), h("span", { class: "pill" }, stage.world));
    const settings = Object.entries(stage.settings);
    const grants = Object.entries(stage.grants).filter(([, all]) => all.length);
    const contract = stage.contract;
    this.body.replaceChildren(
      h("section", { class: "wide" }, h("h4", {}, "Contract"), contract ? h("div", { class: "contract" }, h("div", {}, h("p", { class: "soft small" }, `reads ${contract.reads.length}`), kinds(contract.reads)), h("span", { class: "arrow", "aria-hidden": "true" }, icon("right")), h("div", {}, h("p", { class: "soft small" }, `writes ${contract.writes.length}`), kinds(contract.writes))) : h("p", { class: "soft" }, "Whole messages: raw bytes in, any number of messages out.")),
      h("section", {}, h("h4", {}, "Limits against use"), this.use),
      h("section", {}, h("h4", {}, "Build"), pairs([["from", stage.plugin], ["size", bytes(stage["size-bytes"])], ["digest", h("span", { class: "mono", title: stage.digest }, stage.digest.slice(0, 16))]]), h("details", {}, h("summary", {}, plural(stage.imports.length, "import")), h("ul", { class: "mono small" }, ...stage.imports.map((name) => h("li", {}, name))))),
      h("section", {}, h("h4", {}, "Settings"), settings.length ? pairs(settings) : h("p", { class: "soft" }, "none")),
      h("section", {}, h("h4", {}, "Grants"), grants.length ? pairs(grants.map(([name, all]) => [name, all.join(", ")])) : h("p", { class: "soft" }, "No network, no files, no environment.")),
      stage["last-error"] ? h("section", { class: "wide" }, h("h4", {}, "Last error"), h("pre", { class: "error" }, visible(stage["last-error"]))) : "",
    );
  }

  fillShadow(shadow) {
    this.shadow.hidden = !shadow;
    if (!shadow) return this.shadow.replaceChildren();
    const agree = shadow.records - shadow.differing;
    this.shadow.replaceChildren(
      h("div", { class: "lede" }, h("div", {}, h("h4", {}, "New code beside the old"), h("p", {}, `${count(shadow.records)} of ${count(shadow.wanted)} records compared: ${count(agree)} agree, ${count(shadow.differing)} differ${shadow.skipped ? `, ${count(shadow.skipped)} skipped` : ""}. ${micros(shadow["old-micros-per-record"])} a record before, ${micros(shadow["new-micros-per-record"])} now.`)), h("div", { class: "row" }, button("Discard", "bin", () => this.ask("discard"), { kind: "harm" }), button("Promote", "ok", () => this.ask("promote"), { kind: "main" }))),
      shadow.fields.length ? h("p", { class: "small" }, "Differing fields: ", ...shadow.fields.map((field) => h("span", { class: "pill warn" }, `${field.field} ${count(field.records)}`))) : "",
      shadow.examples.length ? h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ...["Place", "Field", "Old", "New"].map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, ...shadow.examples.map((one) => h("tr", {}, h("td", { class: "num" }, `${one.partition}/${one.offset}`), h("td", {}, one.field), h("td", {}, visible(text(one.old))), h("td", {}, visible(text(one.new)))))))) : "",
    );
  }

  async ask(what, body = {}) {
    const receipt = await post(`/api/stages/${encodeURIComponent(this.name)}/${what}`, body);
    say(sentence(receipt), receipt.outcome === "refused" ? "bad" : "");
    ask();
  }

  async rollBack() {
    const generations = await get("/api/generations");
    const own = (generation) => generation.stages.find((stage) => stage.name === this.name);
    const here = newest?.stages.find((stage) => stage.name === this.name);
    const earlier = generations.filter((generation) => generation.generation !== here?.generation && own(generation));
    if (!earlier.length) return say("There is no earlier generation to go back to.");
    dialog(`Roll back ${this.name}`, (close) => [
      h("p", { class: "soft" }, "The stage goes back to its code and settings of that generation; this makes a new generation, and the records decided so far stay as they are."),
      h("ul", { class: "choices" }, ...earlier.map((generation) => h("li", {}, button(`Generation ${generation.generation}`, "back", async () => (close(), await this.ask("rollback", { generation: generation.generation }))), h("span", { class: "mono soft" }, own(generation).digest.slice(0, 12))))),
      h("div", { class: "row" }, h("button", { class: "do", type: "button", onclick: close }, "Cancel")),
    ]);
  }
}

const text = (value) => (value === null || value === undefined ? "null" : typeof value === "string" ? value : JSON.stringify(value));

// ---- receipts

const short = (digest) => (digest ? digest.slice(0, 8) : "–");

/** What a change was, in words. */
function changes(receipt) {
  return receipt.changes.map((change) => `${change.stage}: ${change.what.join(", ")}${change.from || change.to ? ` ${short(change.from)} → ${short(change.to)}` : ""}`);
}

export function sentence(receipt) {
  const stages = [...new Set(receipt.changes.map((change) => change.stage))].join(", ");
  const subject = stages || "the pipeline";
  if (receipt.outcome === "applied") return `${subject}: generation ${receipt.generation}, in ${millis(receipt["took-ms"])}`;
  return `${subject}: ${receipt.outcome.replace("-", " ")}, generation ${receipt.generation} goes on${receipt.reason ? `: ${visible(receipt.reason)}` : ""}`;
}

function drawReceipts(receipts) {
  nodes.noReceipts.hidden = receipts.length > 0;
  list(nodes.receipts, receipts, (receipt) => String(receipt.id), (receipt) => {
    const places = receipt.partitions.map((one) => `partition ${one.partition} from offset ${count(one.first)}, ${count(one["in-flight"])} in flight`);
    const times = [receipt["compile-ms"] ? `compiled in ${millis(receipt["compile-ms"])}` : "", receipt["took-ms"] ? `${millis(receipt["took-ms"])} in all` : "", receipt["pause-ms"] !== null ? `pause ${millis(receipt["pause-ms"])}` : "", receipt.probed ? `probed with ${plural(receipt.probed, "record")}` : ""].filter(Boolean);
    return h(
      "li",
      { "data-tone": OUTCOMES[receipt.outcome] || "calm", "data-id": receipt.id },
      h("p", { class: "head" }, h("b", {}, receipt.outcome.replace("-", " ")), ` generation ${receipt.generation}`, h("time", { title: exactly(receipt["at-ms"]) }, moment(receipt["at-ms"]))),
      ...changes(receipt).map((line) => h("p", { class: "mono small" }, line)),
      h("p", { class: "soft small" }, [`by ${receipt.who}`, ...times].join(" · ")),
      places.length ? h("details", {}, h("summary", {}, plural(places.length, "partition")), h("ul", { class: "small num" }, ...places.map((line) => h("li", {}, line)))) : "",
      receipt.reason ? h("pre", { class: "error" }, visible(receipt.reason)) : "",
      ...(receipt.diagnostics?.length ? diagnostics(receipt.diagnostics) : []),
    );
  });
}
