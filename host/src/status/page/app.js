// The page: draws what /api/events tells. Text is set by textContent only: records are other people's bytes.
"use strict";

const $ = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en");
const oneDigit = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const count = (n) => whole.format(n);
const rate = (n) => (n >= 100 ? whole.format(Math.round(n)) : oneDigit.format(n));
const bytes = (n) => (n < 1024 ? `${n} B` : n < 1048576 ? `${oneDigit.format(n / 1024)} KiB` : `${oneDigit.format(n / 1048576)} MiB`);
const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function show(node, text) {
  node.hidden = !text;
  set(node, text || "");
}

function make(tag, kind, text) {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  if (text !== undefined) node.textContent = text;
  return node;
}

// ---- the way of a record

// One card: what kind of thing it is, its name, a line under it, figures, and what went wrong last.
function sourceCard(source) {
  if (!source) return { what: "source", name: "fed by others", sub: "records come into the topic from outside", figures: [] };
  const figures = [["records", count(source.records)], ["polls", count(source.polls)], ["received", bytes(source.bytes)]];
  if (source.retries) figures.push(["retries", count(source.retries)]);
  if (source["next-poll-ms"]) figures.push(["next poll", clock(source["next-poll-ms"])]);
  const sub = [source.state, ...source.notes].filter(Boolean).join(" · ");
  return { what: "source", name: source.kind, sub, figures, problem: source["last-error"], troubled: source.state === "backing off", tag: source["stand-in-for"] ? "stand-in" : "" };
}

function topicCard(status) {
  const partitions = Object.values(status.partitions);
  const sum = (key) => partitions.reduce((total, partition) => total + partition[key], 0);
  const problems = Object.entries(status.partitions).filter(([, p]) => p["last-error"]).map(([number, p]) => `partition ${number}: ${p["last-error"]}`);
  return {
    what: "topic", name: status.topic.name, sub: status.topic.at,
    figures: [["waiting", count(sum("lag"))], ["end", count(sum("end"))], ["partitions", count(partitions.length)]],
    problem: problems.join("; "),
  };
}

function stageCard(stage) {
  const figures = [["rows", count(stage.rows)], ["per second", rate(stage["records-per-second"])]];
  // Before the first record nothing was measured.
  const micros = stage["micros-per-record"];
  if (micros) figures.push(["µs per record", micros.toFixed(micros < 10 ? 2 : 0)]);
  for (const key of ["rejected", "dropped", "traps"]) if (stage[key]) figures.push([key, count(stage[key])]);
  const sub = [stage.language, stage.world, `generation ${stage.generation}`, stage.digest.slice(0, 8)].filter(Boolean).join(" · ");
  return { what: "stage", name: stage.name, sub, figures, problem: stage["last-error"] };
}

function sinkCard(sink) {
  const figures = [["rows", count(sink.rows)]];
  // A sink in the store shares the position's transaction: it has no write of its own to time.
  if (sink["last-write-ms"]) figures.push(["last write", `${sink["last-write-ms"].toFixed(1)} ms`]);
  if (sink.retries) figures.push(["retries", count(sink.retries)]);
  return { what: "sink", name: sink.name, sub: [sink.at, sink.state].filter(Boolean).join(" · "), figures, problem: sink["last-error"], troubled: sink.state === "backing off" };
}

function drawCard(card) {
  const node = make("div", card.troubled ? "node troubled" : card.tag ? "node stands-in" : "node");
  node.append(make("p", "what", card.what), make("h3", "", card.name));
  if (card.tag) node.append(make("p", "tag", card.tag));
  node.append(make("p", "sub", card.sub));
  const list = make("ul");
  for (const [name, value] of card.figures) {
    const item = make("li");
    item.append(make("span", "", name), make("b", "", value));
    list.append(item);
  }
  node.append(list);
  if (card.problem) node.append(make("p", "problem", card.problem));
  return node;
}

// A card is only drawn again when it says something new, so that a selection in it stays.
let drawn = [];
function drawFlow(status) {
  const steps = [[sourceCard(status.source)], [topicCard(status)], ...status.stages.map((stage) => [stageCard(stage)]), status.sinks.map(sinkCard)];
  const flow = $("flow");
  if (drawn.length !== steps.length) {
    flow.replaceChildren(...steps.map(() => make("li")));
    drawn = steps.map(() => "");
  }
  steps.forEach((cards, at) => {
    const says = JSON.stringify(cards);
    if (says === drawn[at]) return;
    drawn[at] = says;
    const stack = make("div", "stack");
    stack.append(...cards.map(drawCard));
    flow.children[at].replaceChildren(stack);
  });
  flow.classList.toggle("moving", status["records-per-second"] > 0);
}

// ---- the latest rows

let latest = { all: "", rows: new Set() };
function drawLatest(rows) {
  const all = JSON.stringify(rows);
  if (all === latest.all) return;
  const columns = [];
  for (const row of rows) for (const column of Object.keys(row)) if (!columns.includes(column)) columns.push(column);
  const head = make("tr");
  for (const column of columns) {
    const cell = make("th", "", column);
    cell.scope = "col";
    head.append(cell);
  }
  // A few new rows are pointed out; where most are new, that would be a flicker.
  const fresh = rows.map((row) => !latest.rows.has(JSON.stringify(row)));
  const few = latest.rows.size > 0 && fresh.filter(Boolean).length * 2 <= rows.length;
  const lines = rows.map((row, at) => {
    const line = make("tr", few && fresh[at] ? "fresh" : "");
    for (const column of columns) {
      const value = row[column];
      const none = value === null || value === undefined;
      const text = none ? "null" : typeof value === "object" ? JSON.stringify(value) : String(value);
      const cell = make("td", none ? "none" : "", text);
      cell.title = text;
      line.append(cell);
    }
    return line;
  });
  $("latest-head").replaceChildren(head);
  $("latest-body").replaceChildren(...lines);
  set($("latest-count"), rows.length ? `the newest ${rows.length}` : "none yet");
  latest = { all, rows: new Set(rows.map((row) => JSON.stringify(row))) };
}

// ---- the rate since this page was opened

const rates = [];
function drawSpark(value) {
  rates.push(value);
  if (rates.length > 240) rates.shift();
  const top = Math.max(...rates, 1e-9);
  const points = rates.map((value, at) => `${((at / Math.max(rates.length - 1, 1)) * 120).toFixed(1)},${(23 - (value / top) * 22).toFixed(1)}`);
  const [area, line] = $("spark").children;
  line.setAttribute("points", points.join(" "));
  area.setAttribute("points", `0,24 ${points.join(" ")} ${points.at(-1).split(",")[0]},24`);
}

// ---- the whole

function draw(status) {
  const totals = status.totals;
  const sourceStandsIn = status.source && status.source["stand-in-for"];
  set($("pipeline"), status.pipeline);
  set($("state-word"), status.state);
  $("state").dataset.state = status.state;
  show($("reason"), status.reason);
  show($("stand-in"), sourceStandsIn && `Stand-in data: these users are made up by the generator, because the host could not ${sourceStandsIn}`);
  $("alarms").hidden = status.alarms.length === 0;
  if ([...$("alarm-list").children].map((item) => item.textContent).join("\n") !== status.alarms.join("\n")) {
    $("alarm-list").replaceChildren(...status.alarms.map((alarm) => make("li", "", alarm)));
  }
  set($("total"), count(totals.emitted));
  set($("total-aside"), `${count(totals.dropped)} dropped · ${count(totals.deleted)} deleted · ${count(totals.rejected)} rejected`);
  set($("rate"), rate(status["records-per-second"]));
  drawSpark(status["records-per-second"]);
  const partitions = Object.values(status.partitions);
  set($("lag"), count(partitions.reduce((total, partition) => total + partition.lag, 0)));
  set($("lag-aside"), partitions.length === 1 ? "1 partition" : `${partitions.length} partitions`);
  set($("dead"), count(status["dead-letters"]));
  $("dead-tile").dataset.dead = status["dead-letters"];
  set($("memory"), bytes(status["rss-bytes"]));
  drawFlow(status);
  drawLatest(status.latest);
  document.title = `${count(totals.emitted)} · ${status.pipeline} · Tidemill`;
}

let told = 0;
function link(kind, text) {
  $("link").dataset.link = kind;
  set($("link"), text);
}

function watch() {
  const events = new EventSource("/api/events");
  events.addEventListener("status", (event) => {
    told = Date.now();
    link("live", "live");
    // What nobody sees is not drawn; the next event after the page is shown again draws all.
    if (!document.hidden) draw(JSON.parse(event.data));
  });
  events.onerror = () => {
    link("lost", told ? `connection lost, as of ${clock(told)}; trying again` : "no connection; trying again");
    // The browser tries again by itself, but not after an answer such as "too many pages".
    if (events.readyState === EventSource.CLOSED) setTimeout(watch, 3000);
  };
}

setInterval(() => {
  if (told && Date.now() - told > 5000 && $("link").dataset.link === "live") link("lost", `no news since ${clock(told)}`);
}, 1000);
watch();
