// Runs: what each poll of the source did, when the next one is, and its brake.

import { button, say } from "./act.js";
import { h, list, mark, memo, s, set } from "./dom.js";
import { bytes, count, exactly, millis, moment, plural, visible } from "./format.js";
import { get, post } from "./host.js";

const COLUMNS = ["When", "What", "Records", "Bytes", "Status", "Retries", "Took", "Result"];
const nodes = {};
let root;
let timer = null;
let polls = -1;
let state = "";

export function start(into) {
  root = into;
  nodes.state = h("p", { class: "word" });
  nodes.next = h("dd", {});
  nodes.when = h("dt", {}, "next poll");
  nodes.every = h("dd", {});
  nodes.sums = h("dd", {});
  nodes.note = h("p", { class: "note warn", hidden: true });
  nodes.brake = h("div", { class: "row" });
  nodes.pause = button("Pause", "pause", () => brake("pause", "The source is paused; what is in the topic is still delivered."));
  nodes.resume = button("Resume", "play", () => brake("resume", "The source goes on."));
  nodes.poll = button("Poll now", "poll", () => brake("poll", "The source is asked now."));
  nodes.brake.append(nodes.pause, nodes.resume, nodes.poll);
  nodes.strip = s("svg", { class: "strip", role: "img", "aria-label": "Records by poll", preserveAspectRatio: "none" });
  nodes.body = h("tbody", {});
  nodes.count = h("small", {});
  nodes.some = h("div", {}, h("section", { class: "card stripes" }, h("h3", {}, "Records by poll"), nodes.strip), h("h3", { class: "gap" }, "Polls ", nodes.count), h("div", { class: "card scroll tall", tabindex: "0", role: "region", "aria-label": "Polls" }, h("table", { class: "runs" }, h("thead", {}, h("tr", {}, ...COLUMNS.map((name, i) => h("th", { scope: "col", class: i > 1 && i < 7 ? "r" : null }, name)))), nodes.body)));
  nodes.none = h("div", { class: "card empty", hidden: true });
  root.append(h("div", { class: "lede" }, h("div", {}, h("h2", {}, "Runs"), h("p", {}, "What the source did, poll by poll.")), nodes.brake), nodes.note, h("section", { class: "card schedule", "aria-label": "Schedule" }, nodes.state, h("dl", { class: "figures" }, h("div", {}, nodes.when, nodes.next), h("div", {}, h("dt", {}, "schedule"), nodes.every), h("div", {}, h("dt", {}, "since the start"), nodes.sums))), nodes.some, nodes.none);
}

async function brake(what, done) {
  await post(`/api/source/${what}`);
  say(done);
}

export const shown = () => load();
export const hidden = () => clearTimeout(timer);

const TONES = { paused: "warn", "backing off": "warn", "held back": "warn", failed: "bad", polling: "good", waiting: "good", exhausted: "calm" };

/** `every 10 s`, or `@daily, for 5 min: every 10 s`. */
function schedule(source) {
  const every = source["every-ms"];
  const pause = every ? `every ${millis(every)}` : "without a pause";
  const long = source["for-ms"] ? `for ${millis(source["for-ms"])}` : "";
  if (!source.cron) return [every === undefined || every === null ? source.kind : pause, long].filter(Boolean).join(", ");
  return long ? `${source.cron}, ${long}: ${pause}` : `at ${source.cron}`;
}

export function draw(status) {
  const source = status.source;
  nodes.brake.hidden = !source;
  if (!source) {
    nodes.none.hidden = false;
    nodes.some.hidden = true;
    nodes.none.replaceChildren(h("b", {}, "No source"), "The topic of this pipeline is fed by others.");
    return;
  }
  const paused = source.state === "paused";
  const done = source.state === "exhausted";
  nodes.pause.hidden = paused || done;
  nodes.resume.hidden = !paused;
  nodes.poll.hidden = done;
  set(nodes.state, source.state);
  mark(nodes.state, "data-tone", TONES[source.state] || "calm");
  const next = source["next-poll-ms"];
  set(nodes.when, source.state === "backing off" ? "tried again" : "next poll");
  set(nodes.next, next && next > status["at-ms"] ? `${moment(next)}, in ${millis(Math.ceil((next - status["at-ms"]) / 1000) * 1000)}` : paused ? "when it is resumed" : done ? "never: all was read" : "now");
  set(nodes.every, schedule(source));
  set(nodes.sums, `${plural(source.polls, "poll")}, ${plural(source.records, "record")}, ${bytes(source.bytes)}`);
  const note = [source["last-error"], ...source.notes].filter(Boolean).map(visible).join(" · ");
  nodes.note.hidden = !note;
  set(nodes.note, note);
  if ((source.polls !== polls || source.state !== state) && !timer) timer = setTimeout(load, polls < 0 ? 0 : 700);
  [polls, state] = [source.polls, source.state];
}

async function load() {
  clearTimeout(timer);
  timer = null;
  try {
    drawRuns(await get("/api/runs?limit=200"));
  } catch (error) {
    say(error.message, "bad");
  }
}

const drawRuns = memo((runs) => {
  nodes.some.hidden = !runs.length;
  nodes.none.hidden = runs.length > 0;
  nodes.none.replaceChildren(h("b", {}, "Not polled yet"), "The first poll will stand here.");
  set(nodes.count, runs.length ? `the newest ${count(runs.length)}` : "");
  drawStrip(runs.slice(0, 80).reverse());
  list(nodes.body, runs, (run) => String(run.id), (run) => {
    const bad = run.result !== "ok";
    const soft = (text) => h("span", { class: "soft" }, text);
    const cells = [moment(run["started-ms"]), visible(run.what), count(run.records), bytes(run.bytes), run.status ? String(run.status) : soft("–"), run.retries ? count(run.retries) : soft("0"), millis(run["duration-ms"]), [h("span", { class: `pill ${bad ? "bad" : "good"}` }, bad ? "failed" : "ok"), bad ? ` ${visible(run.result)}` : ""]];
    return h("tr", { "data-id": run.id, class: bad ? "bad" : null }, ...cells.map((cell, i) => h("td", { "data-name": COLUMNS[i], class: i > 1 && i < 7 ? "r" : i ? null : "num", title: i ? (i === 7 ? visible(run.result) : null) : exactly(run["started-ms"]) }, cell)));
  });
});

function drawStrip(runs) {
  const most = Math.max(...runs.map((run) => run.records), 1);
  const wide = 800 / Math.max(runs.length, 20);
  mark(nodes.strip, "viewBox", "0 0 800 60");
  mark(nodes.strip, "aria-label", `Records of the last ${runs.length} polls: at most ${count(most)} in one, ${count(runs.filter((run) => run.result !== "ok").length)} failed`);
  nodes.strip.replaceChildren(
    ...runs.map((run, i) => {
      const high = run.result === "ok" ? Math.max(2, (run.records / most) * 58) : 58;
      return s("rect", { x: i * wide, y: 60 - high, width: Math.max(1, wide - 2), height: high, class: run.result === "ok" ? null : "bad", "data-value": run.records }, s("title", {}, `${moment(run["started-ms"])}: ${run.result === "ok" ? plural(run.records, "record") : run.result}`));
    }),
  );
}
