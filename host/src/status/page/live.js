// Live: what has come through, what comes now, and who came last.

import { button } from "./act.js";
import { bars, donut, histogram, line } from "./chart.js";
import { $, h, icon, list, mark, memo, s, set, show } from "./dom.js";
import { clock, count, millis, moment, plural, rate, short, shown, visible } from "./format.js";
import { get, post } from "./host.js";

// ---- the rate

/** How much of the past the line shows. */
const SPAN_MS = 600_000;
let rates = [];
let drawRates = () => {};

/** Seconds that are missing between two points: the host did not run then. */
const GAP_MS = 3000;
let asking = false;

/** What this page has not seen of the past: before it was opened, and while nobody looked at this tab. */
async function pastRates() {
  if (asking) return;
  asking = true;
  try {
    const past = await get(`/api/rates?seconds=${SPAN_MS / 1000}`);
    const first = past["at-ms"][0] ?? Infinity;
    const newest = past["at-ms"].at(-1) ?? -Infinity;
    rates = [...rates.filter(([at]) => at < first), ...past["at-ms"].map((at, i) => [at, past.delivered[i]]), ...rates.filter(([at]) => at > newest && at >= first)];
  } catch {
    // The line then begins now.
  }
  asking = false;
}

function addRate(next) {
  const newest = rates.at(-1);
  if (!next || (newest && next["at-ms"] <= newest[0])) return;
  if (newest && next["at-ms"] - newest[0] > GAP_MS) pastRates();
  rates.push([next["at-ms"], next.delivered]);
  const from = next["at-ms"] - SPAN_MS;
  rates = rates.filter(([at]) => at >= from);
}

/** The mean of the ten seconds up to each, which is what the figure above says. */
function smooth(seconds) {
  let sum = 0;
  let first = 0;
  const means = seconds.map(([at, n], i) => {
    if (i && at - seconds[i - 1][0] > GAP_MS) [sum, first] = [0, i];
    sum += n;
    if (i - first >= 10) sum -= seconds[first++][1];
    return [at, sum / (i - first + 1)];
  });
  return means.length > 20 ? means.slice(9) : means;
}

// ---- the system in one word

const TONES = { ok: "good", starting: "calm", waiting: "calm", draining: "warn", paused: "warn", stopped: "warn", "backing off": "warn", failed: "bad", "in trouble": "bad" };
const SYMBOLS = { good: "ok", calm: "wait", warn: "warn", bad: "bad" };
const WORDS = { ok: "all well" };
const PARTS = { source: "Source", topic: "Topic", stages: "Stages", sinks: "Sinks", "dead-letters": "Dead letters" };

/** What a part does when nothing is wrong with it. */
function doing(part, status) {
  const sum = (of) => Object.values(status.partitions).reduce((total, partition) => total + partition[of], 0);
  const source = status.source;
  switch (part) {
    case "source": {
      if (!source) return "the topic is fed by others";
      const next = source["next-poll-ms"];
      return `${source.kind}, ${source.state}${next && next > status["at-ms"] ? `; next at ${clock(next)}` : ""}`;
    }
    case "topic":
      return `${status.topic.at.split(":")[0]}, ${count(sum("lag"))} waiting`;
    case "stages":
      return status.stages.length ? `${count(status.stages.length)} in a chain, generation ${Math.max(...status.stages.map((stage) => stage.generation))}` : "none: records go through as they are";
    case "sinks":
      return status.sinks.map((sink) => sink.name).join(", ");
    default:
      return status["dead-letters"] ? plural(status["dead-letters"], "record waits", "records wait") : "none";
  }
}

function drawHealth(status) {
  const health = status.health;
  $("health").hidden = !health;
  if (!health) return;
  const tone = TONES[health.word] || "calm";
  mark($("health-word"), "data-tone", tone);
  set($("health-word"), WORDS[health.word] || health.word);
  list($("parts"), health.parts, (part) => part.part, (part) => h("li", {}, h("b", {}, PARTS[part.part] || part.part), h("span", {})), (node, part) => {
    const tone = TONES[part.word] || "calm";
    if (node.dataset.tone !== tone) {
      node.dataset.tone = tone;
      node.querySelector(".icon")?.remove();
      node.prepend(icon(SYMBOLS[tone]));
    }
    const reason = part.reason && visible(part.reason);
    set(node.lastElementChild, reason ? (part.word === "ok" ? reason : `${part.word}: ${reason}`) : part.word === "ok" ? doing(part.part, status) : part.word);
  });
}

// ---- who came last

const first = (row, ...names) => names.map((name) => row[name]).find((value) => typeof value === "string" && value);

/** A name, a picture and a line of what is known, from whatever columns there are. */
function person(row) {
  const full = first(row, "full_name", "name", "display_name") || [first(row, "first_name", "firstname"), first(row, "last_name", "lastname")].filter(Boolean).join(" ");
  const name = full || first(row, "username", "email", "title") || Object.values(row).map(shown).find(Boolean) || "";
  const picture = Object.values(row).find((value) => typeof value === "string" && /^https:\/\/\S+\.(jpe?g|png|webp|gif)$/i.test(value));
  const lines = [first(row, "email"), first(row, "address", "city", "country")].filter((text) => text && text !== name);
  return { name, picture, lines, isPerson: Boolean(full) };
}

const drawPerson = memo((row) => {
  $("person").hidden = !row;
  if (!row) return;
  const { name, picture, lines, isPerson } = person(row);
  set($("person-title"), isPerson ? "Latest user" : "Latest record");
  const initials = name.split(/\s+/).map((word) => [...word][0]).filter((c) => /\p{L}/u.test(c || "")).slice(0, 2).join("").toUpperCase();
  // Drawn at once; the picture lies over it when, and if, it comes.
  const face = h("div", { class: "face", "aria-hidden": "true" }, s("svg", { viewBox: "0 0 64 64" }, initials ? s("text", { x: 32, y: 40, "text-anchor": "middle" }, initials) : s("path", { class: "blank", d: "M20 44c2-8 22-8 24 0M32 30a7 7 0 1 0-.01 0" })));
  if (picture && Date.now() > noPicturesUntil) {
    const failed = () => ((noPicturesUntil = Date.now() + 60_000), image.remove());
    const image = h("img", { alt: "", width: 64, height: 64, referrerpolicy: "no-referrer", onload: () => image.classList.add("there"), onerror: failed });
    image.src = picture;
    face.append(image);
  }
  const who = h("div", { class: "who" }, face, h("div", {}, h("h4", {}, h("bdi", {}, name)), ...lines.map((text) => h("p", {}, h("bdi", {}, text)))));
  $("person").querySelector(".who")?.remove();
  $("person").append(who);
});

// Where pictures cannot be reached, they are not asked for with each record.
let noPicturesUntil = 0;
let personAt = 0;
let personLater = null;

/** A face stays for two seconds, or nobody could see it. */
function meet(row) {
  clearTimeout(personLater);
  const wait = personAt + 2000 - Date.now();
  if (wait > 0 && row) {
    personLater = setTimeout(() => meet(row), wait);
    return;
  }
  personAt = Date.now();
  drawPerson(row);
}

// ---- the charts that the pipeline asks for

const drawn = new Map();

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const bucket = (name, by) => (by === "month" ? `${MONTHS[Number(name.slice(5, 7)) - 1]} ${name.slice(0, 4)}` : name);

/** A timeline's buckets as points; a year, or another whole number, that none had is a zero. */
function points(chart) {
  if (chart.by !== "year" && chart.by !== "value") return chart.values.map((value, i) => [i, value.count, value.name]);
  const years = new Map(chart.values.map((value) => [Number(value.name), value.count]));
  const all = [...years.keys()];
  if (!all.length) return [];
  const [from, to] = [Math.min(...all), Math.max(...all)];
  if (to - from > 200) return chart.values.map((value, i) => [i, value.count, value.name]);
  return Array.from({ length: to - from + 1 }, (_, i) => [from + i, years.get(from + i) || 0, String(from + i)]);
}

const KINDS = {
  share(root, chart) {
    const draw = donut(root, { name: chart.title });
    return (next) => draw(next.others ? [...next.values, { name: "others", count: next.others }] : next.values);
  },
  top(root, chart) {
    const draw = bars(root, { name: chart.title });
    return (next) => draw(next.values, next.others);
  },
  timeline(root, chart) {
    let names = new Map();
    const draw = line(root, { name: chart.title, x: (at) => names.get(at) ?? String(at), y: count, dots: true, xTicks: 4 });
    return (next) => {
      const all = points(next);
      names = new Map(all.map(([at, , name]) => [at, bucket(name, next.by)]));
      draw(all.map(([at, n]) => [at, n]));
    };
  },
  histogram(root, chart) {
    const draw = histogram(root, { name: chart.title });
    return (next) => draw(next.bins);
  },
  number(root) {
    const big = h("p", { class: "big" });
    const under = h("p", { class: "soft" });
    root.append(big, under);
    return (next) => {
      const n = next.number;
      set(big, n ? short(n.mean) : "–");
      big.dataset.value = n ? n.mean : "";
      set(under, n ? `mean; from ${short(n.min)} to ${short(n.max)}, sum ${short(n.sum)}` : "nothing counted yet");
    };
  },
};

function aside(chart) {
  const counted = chart.overflowed ? `at least ${count(chart.counted)}` : count(chart.counted);
  return `${counted} counted${chart.missing ? `, ${count(chart.missing)} without` : ""}`;
}

function drawCharts(charts) {
  const id = (chart) => `${chart.kind} ${chart.field} ${chart.title}`;
  const make = (chart) => {
    const root = h("div", { class: `chart ${chart.kind}` });
    const card = h("section", { class: "card", "aria-label": chart.title, "data-field": chart.field }, h("h3", {}, h("span", {}, chart.title), h("small", {})), root);
    drawn.set(id(chart), KINDS[chart.kind](root, chart));
    return card;
  };
  list($("charts"), charts.filter((chart) => KINDS[chart.kind]), id, make, (card, chart) => {
    const small = card.querySelector("h3 small");
    set(small, aside(chart));
    small.title = chart["since-ms"] ? `since ${moment(chart["since-ms"])}` : "";
    drawn.get(id(chart))(chart);
  });
}

// ---- the latest rows

let latest = new Set();
const drawLatest = memo((rows) => {
  const columns = [];
  for (const row of rows) for (const column of Object.keys(row)) if (!columns.includes(column)) columns.push(column);
  $("latest-head").replaceChildren(h("tr", {}, ...columns.map((column) => h("th", { scope: "col" }, column))));
  // A few new rows are pointed out; where most are new, that would be a flicker.
  const texts = rows.map((row) => JSON.stringify(row));
  const fresh = texts.map((text) => !latest.has(text));
  const few = latest.size > 0 && fresh.filter(Boolean).length <= 5;
  const lines = rows.map((row, at) => {
    const cells = columns.map((column) => {
      const value = row[column];
      if (value === null || value === undefined) return h("td", { class: "none" }, "null");
      return h("td", { title: shown(value), class: typeof value === "number" ? "num" : null, dir: "auto" }, shown(value));
    });
    return h("tr", { class: few && fresh[at] ? "fresh" : null }, ...cells);
  });
  $("latest-body").replaceChildren(...lines);
  set($("latest-count"), rows.length ? `the newest ${rows.length}` : "none yet");
  latest = new Set(texts);
});

// ---- how many rows there really are: asked for, never on the way

const drawCounts = memo(async (sinks) => {
  // A route that is there but wants a POST says 405 to this; where it is not, nothing is offered.
  const counted = await Promise.all(sinks.map(async (sink) => (await fetch(`/api/sinks/${encodeURIComponent(sink)}/count`)).status === 405));
  const counters = sinks.filter((_, i) => counted[i]).map((sink) => {
    const said = h("span", { class: "soft small num", role: "status", "data-counted": sink });
    const ask = async () => {
      const answer = await post(`/api/sinks/${encodeURIComponent(sink)}/count`);
      set(said, `${plural(answer.rows, "row")} in ${sink}, counted at ${clock(answer["at-ms"])} in ${millis(answer["took-ms"])}`);
    };
    return h("span", { class: "row" }, said, button(sinks.length > 1 ? `Count ${sink}` : "Count the table", "poll", ask, { kind: "bare", title: "Counts the rows of the real table now" }));
  });
  $("counts").replaceChildren(...counters);
});

// ---- the tab

export function start() {
  drawRates = line($("rates"), { name: "records per second", gap: GAP_MS, x: clock, y: (n) => `${rate(n)}/s` });
  pastRates();
}

export function draw(status) {
  const totals = status.totals;
  set($("total"), count(totals.emitted));
  set($("total-aside"), `${count(totals.dropped)} dropped · ${count(totals.deleted)} deleted · ${count(totals.rejected)} rejected`);
  set($("rate"), rate(status["records-per-second"]));
  if (status["figures-at-ms"]) set($("fresh"), `over 10 s; as of ${moment(status["figures-at-ms"])}`);
  addRate(status.rate);
  drawRates(smooth(rates));
  const partitions = Object.values(status.partitions);
  set($("lag"), count(partitions.reduce((total, partition) => total + partition.lag, 0)));
  const others = new Set(partitions.filter((partition) => partition.here === false).map((partition) => partition.host));
  set($("lag-aside"), `${plural(partitions.length, "partition")}${others.size ? ` of ${plural(others.size + 1, "host")}, summed` : ""}`);
  set($("dead"), count(status["dead-letters"]));
  mark($("dead"), "data-dead", status["dead-letters"]);
  drawHealth(status);
  meet(status.latest[0] ?? null);
  drawCharts(status.charts || []);
  drawLatest(status.latest);
  // What writes whole records has no table to count.
  drawCounts(status.sinks.filter((sink) => /^(embedded|cassandra)/.test(sink.at)).map((sink) => sink.name));
}
