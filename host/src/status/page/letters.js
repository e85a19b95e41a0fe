// Dead letters: what was rejected and why, each with its bytes, and what may be done about it.

import { button, say, sure } from "./act.js";
import { h, icon, list, mark, set } from "./dom.js";
import { bytes, count, exactly, moment, plural, visible } from "./format.js";
import { get, post } from "./host.js";

const nodes = {};
let root;
/** The group that the list is narrowed to: `{ group, stage }`. */
let group = null;
let after = [];
let letters = { count: 0, "dead-letters": [], next: null };
const ticked = new Map();
let open = null;
let waiting = -1;
let asked = 0;

const at = (letter) => `${letter.partition}/${letter.offset}`;

export function start(into) {
  root = into;
  nodes.groups = h("ul", { class: "groups", "aria-label": "Reasons" });
  nodes.lede = h("p", {});
  nodes.shown = h("p", { class: "soft small" });
  nodes.all = h("input", { type: "checkbox", "aria-label": "Select all that are shown", onchange: () => tickAll(nodes.all.checked) });
  nodes.body = h("tbody", {});
  nodes.detail = h("section", { class: "card letter", "aria-label": "One dead letter", hidden: true });
  nodes.chosen = h("span", { class: "soft small num" });
  nodes.earlier = h("button", { class: "do bare", type: "button", onclick: () => (after.pop(), load()) }, "Earlier");
  nodes.later = h("button", { class: "do bare", type: "button", onclick: () => (after.push(letters.next), load()) }, "Later");
  nodes.some = h("div", {});
  nodes.none = h("div", { class: "card empty", hidden: true }, h("b", {}, "No dead letters"), "Every record so far was delivered, or dropped or deleted as intended. A rejected one would wait here with its bytes and the reason.");
  nodes.tools = h("div", { class: "row tools-row" }, button("Replay", "play", () => replay(), { kind: "main", title: "First a dry run; nothing is written before you say so" }), button("Discard", "bin", () => discard(), { kind: "harm" }), h("a", { class: "do", href: "/api/dead-letters/download", download: "" }, icon("down"), "Download all"), nodes.chosen);
  nodes.some.append(
    nodes.groups,
    nodes.tools,
    h(
      "div",
      { class: "halves" },
      h("div", {}, h("div", { class: "card scroll tall", tabindex: "0", role: "region", "aria-label": "Dead letters" }, h("table", { class: "letters" }, h("thead", {}, h("tr", {}, h("th", {}, nodes.all), ...["Place", "Stage", "Reason", "When"].map((name) => h("th", { scope: "col" }, name)))), nodes.body)), h("div", { class: "row pager" }, nodes.shown, nodes.earlier, nodes.later)),
      nodes.detail,
    ),
  );
  root.append(h("div", { class: "lede" }, h("div", {}, h("h2", {}, "Dead letters"), nodes.lede)), nodes.some, nodes.none);
}

export function shown() {
  load();
}

export function draw(status) {
  // Only what is news is asked for, and not more than once in a second.
  if (status["dead-letters"] === waiting || Date.now() - asked < 1000) return;
  waiting = status["dead-letters"];
  load();
}

async function load() {
  asked = Date.now();
  const query = new URLSearchParams({ limit: "100" });
  if (after.length) query.set("after", after.at(-1));
  if (group) query.set("reason", group.group);
  if (group?.stage) query.set("stage", group.stage);
  try {
    const [groups, page] = await Promise.all([get("/api/dead-letters/groups"), get(`/api/dead-letters?${query}`)]);
    letters = page;
    waiting = groups.count;
    if (group && !groups.groups.some(sameGroup(group))) {
      group = null;
      after = [];
      return load();
    }
    drawAll(groups);
  } catch (error) {
    say(error.message, "bad");
  }
}

const sameGroup = (one) => (other) => one && other && one.group === other.group && one.stage === other.stage;

function drawAll(groups) {
  nodes.some.hidden = groups.count === 0;
  nodes.none.hidden = groups.count > 0;
  set(nodes.lede, groups.count ? `${plural(groups.count, "record was", "records were")} rejected and wait here with their bytes, until they are replayed or discarded.` : "Rejected records wait here with their bytes.");
  const most = Math.max(...groups.groups.map((one) => one.count), 1);
  list(nodes.groups, groups.groups, (one) => `${one.stage} ${one.group}`, (one) => {
    const choose = () => {
      group = sameGroup(one)(group) ? null : { group: one.group, stage: one.stage };
      after = [];
      ticked.clear();
      load();
    };
    const bar = h("span", { class: "track", "aria-hidden": "true" }, h("span", {}));
    return h("li", {}, h("button", { class: "card", type: "button", onclick: choose }, h("b", { class: "num" }), h("span", { class: "why" }, visible(one.group)), h("span", { class: "pill" }, one.stage || "host"), bar));
  }, (node, one) => {
    mark(node.firstChild, "aria-pressed", Boolean(sameGroup(one)(group)));
    set(node.querySelector("b"), count(one.count));
    node.querySelector(".track > span").style.width = `${((one.count / most) * 100).toFixed(1)}%`;
  });
  const page = letters["dead-letters"];
  set(nodes.shown, `${count(page.length)} shown${group ? ", of this reason" : ""}`);
  nodes.earlier.hidden = !after.length;
  nodes.later.hidden = !letters.next;
  list(nodes.body, page, at, (letter) => {
    const tick = h("input", { type: "checkbox", "aria-label": `Select ${at(letter)}`, onchange: () => (tick.checked ? ticked.set(at(letter), letter) : ticked.delete(at(letter)), drawChosen()) });
    const row = h("tr", { "data-place": at(letter) }, h("td", {}, tick), h("td", {}, h("button", { class: "go num", type: "button", onclick: () => show(letter) }, at(letter))), h("td", {}, letter.stage || h("span", { class: "soft" }, "host")), h("td", { class: "why", title: visible(letter.reason) }, visible(letter.reason)), h("td", { class: "num soft" }, moment(letter["write-time-us"] / 1000)));
    row.addEventListener("click", (event) => event.target.closest("input, button") || show(letter));
    return row;
  }, (row, letter) => {
    row.querySelector("input").checked = ticked.has(at(letter));
    mark(row, "aria-current", open === at(letter) ? "true" : null);
  });
  drawChosen();
}

function tickAll(on) {
  for (const letter of letters["dead-letters"]) on ? ticked.set(at(letter), letter) : ticked.delete(at(letter));
  for (const box of nodes.body.querySelectorAll("input")) box.checked = on;
  drawChosen();
}

/** What an action is about: the ticked ones, else the chosen group, else all. */
function subject() {
  if (ticked.size) return { body: { places: [...ticked.keys()] }, name: plural(ticked.size, "selected record") };
  if (group) return { body: { group: group.group, ...(group.stage ? { stage: group.stage } : {}) }, name: "all records with this reason" };
  return { body: { all: true }, name: "all dead letters" };
}

function drawChosen() {
  set(nodes.chosen, `Acts on ${subject().name}.`);
  nodes.all.checked = letters["dead-letters"].length > 0 && letters["dead-letters"].every((letter) => ticked.has(at(letter)));
}

// ---- what may be done

async function replay(what = subject()) {
  const dry = await post("/api/dead-letters/replay", { ...what.body, "dry-run": true });
  const failing = dry.results.filter((result) => !result.passed);
  const passing = dry.results.filter((result) => result.passed);
  const reasons = new Map();
  for (const one of failing) reasons.set(one.reason || one.error, (reasons.get(one.reason || one.error) || 0) + 1);
  const yes = await sure(
    `${count(dry.passed)} of ${count(dry.tried)} now pass`,
    [
      h("p", { class: "soft" }, "This was a dry run through the present code: nothing was written yet. A replay writes at each record’s own time, so that newer rows of the same key stay."),
      dry.more ? h("p", { class: "note" }, "There are more than fit into one request: the others come next time.") : null,
      failing.length ? h("ul", { class: "fails" }, ...[...reasons].slice(0, 8).map(([reason, times]) => h("li", {}, h("b", { class: "num" }, `${count(times)} × `), visible(String(reason))))) : null,
    ].filter(Boolean),
    passing.length ? `Replay ${plural(passing.length, "record")}` : "Close",
  );
  if (!yes || !passing.length) return;
  const done = await post("/api/dead-letters/replay", { places: passing.map(at), "dry-run": false, force: false });
  const refused = done.results.find((result) => result.error);
  say(`${plural(done.passed, "record")} replayed${done.rejected ? `, ${count(done.rejected)} rejected again` : ""}${refused ? `; ${at(refused)}: ${refused.error}` : ""}.`, refused ? "bad" : "");
  forget();
}

async function discard(what = subject()) {
  if (!(await sure(`Discard ${what.name}?`, [h("p", { class: "soft" }, "Their bytes are removed for good; a receipt says that it was done.")], "Discard", true))) return;
  const done = await post("/api/dead-letters/discard", what.body);
  say(`${plural(done.discarded, "record")} discarded${done.more ? "; there are more, discard again" : ""}.`);
  forget();
}

function forget() {
  ticked.clear();
  close();
  load();
}

async function pin(letter) {
  const path = `/api/dead-letters/${at(letter)}/pin`;
  const plan = await post(path, { "dry-run": true });
  if (!(await sure("Pin as a test", [h("p", { class: "soft" }, `This case is added to ${plan.file}, at line ${count(plan.line)}; `, h("code", {}, "tidemill test"), " then runs it."), h("pre", { class: "code", tabindex: "0" }, visible(plan.text.trim()))], "Write it"))) return;
  const done = await post(path, { "dry-run": false });
  say(`Written to ${done.file}, line ${count(done.line)}: “${done.name}”.`);
}

// ---- one letter

const close = () => {
  open = null;
  nodes.detail.hidden = true;
  for (const row of nodes.body.children) row.removeAttribute("aria-current");
};

async function show(letter, reveal = false) {
  try {
    const whole = await get(`/api/dead-letters/${at(letter)}${reveal ? "?reveal=true" : ""}`, reveal);
    open = at(letter);
    drawLetter(whole, reveal);
    for (const row of nodes.body.children) mark(row, "aria-current", row.dataset.place === open ? "true" : null);
    // Beside the list it is in sight; below it, on a narrow page, it is not.
    if (matchMedia("(max-width: 1080px)").matches) nodes.detail.scrollIntoView({ block: "start", behavior: "smooth" });
  } catch (error) {
    say(error.message, "bad");
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** Bytes as text and as hex; which of them is remembered. */
let asHex = false;
function content(name, given) {
  if (!given) return h("section", {}, h("h4", {}, name), h("p", { class: "soft" }, "none"));
  const text = given.text ?? null;
  const pre = h("pre", { class: "code", tabindex: "0", "aria-label": name });
  const draw = () => set(pre, asHex || text === null ? given.hex || "" : visible(pretty(text)));
  const toggle = h("button", { class: "do bare", type: "button", "aria-pressed": String(asHex), onclick: () => ((asHex = !asHex), mark(toggle, "aria-pressed", asHex), draw()) }, "hex");
  draw();
  return h("section", {}, h("div", { class: "lede" }, h("h4", {}, `${name}, ${bytes(given.bytes)}`), text === null ? h("small", { class: "soft" }, "not UTF-8") : toggle), pre);
}

const drawLetter = (letter, revealed) => {
  const record = letter.record;
  const one = { body: { places: [at(letter)] }, name: `the record at ${at(letter)}` };
  const masked = letter.masked || [];
  nodes.detail.hidden = false;
  nodes.detail.replaceChildren(
    h("div", { class: "lede" }, h("h3", {}, `Partition ${letter.partition}, offset ${letter.offset}`), h("button", { class: "do bare", type: "button", "aria-label": "Close", onclick: close }, icon("bad"))),
    h("p", { class: "error" }, visible(letter.reason)),
    h("p", { class: "soft small" }, [letter.stage ? `stage ${letter.stage}` : "by the host, before or after the stages", `generation ${letter.generation}`, letter.digest && `code ${letter.digest.slice(0, 12)}`, `record of ${exactly(letter["timestamp-ms"])}`, `host ${letter.host}`].filter(Boolean).join(" · ")),
    h("div", { class: "row" }, button("Replay", "play", () => replay(one)), button("Pin as test", "pin", () => pin(letter), { title: "Writes it as a [[test]] case into the pipeline file" }), button("Discard", "bin", () => discard(one), { kind: "harm" })),
    letter.withheld ? h("p", { class: "note" }, letter.withheld) : "",
    (masked.length || letter.withheld) && !revealed ? h("p", { class: "row small soft" }, masked.length ? `Masked: ${masked.join(", ")}` : "", button("Show the original", "key", () => show(letter, true), { kind: "bare" })) : "",
    ...(record ? [letter.withheld && !record.value ? "" : content("Value", record.value), content("Key", record.key), record.headers.length ? h("section", {}, h("h4", {}, "Headers"), h("dl", { class: "pairs" }, ...record.headers.map(([name, value]) => h("div", {}, h("dt", {}, visible(name)), h("dd", { class: "mono" }, value ? visible(value.text ?? value.base64 ?? "") : "null"))))) : ""] : []),
  );
};
