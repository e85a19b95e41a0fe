// The running topology as a drawing: parts in the order of a record, with what each does now.

import { list, mark, s } from "./dom.js";
import { bytes, clock, count, micros, millis, plural, rate } from "./format.js";

// ---- what each part says: kind, name, a line under it, figures, and its tone

function source(status) {
  const source = status.source;
  if (!source) return { id: "source", kind: "Source", name: "fed by others", sub: "records come from outside", rows: [] };
  const next = source["next-poll-ms"];
  return {
    id: "source",
    kind: source["stand-in-for"] ? "Source · stand-in" : "Source",
    name: source.kind,
    sub: source.state,
    rows: [["records", count(source.records)], ["polls", count(source.polls)], source.retries ? ["retries", count(source.retries)] : ["received", bytes(source.bytes)], ["next poll", next && next > status["at-ms"] ? clock(next) : "–"]],
    tone: source.state === "failed" ? "bad" : source["last-error"] || source.state === "backing off" || source["stand-in-for"] ? "warn" : "",
    problem: source["last-error"],
  };
}

function topic(status) {
  const partitions = Object.entries(status.partitions);
  const sum = (key) => partitions.reduce((total, [, partition]) => total + partition[key], 0);
  const here = partitions.filter(([, partition]) => partition.here !== false).length;
  // A rejected record is told by its stage and its dead letter; here stands what holds a partition up.
  const problem = partitions.filter(([, p]) => p["last-error"] && ["stopped", "backing off"].includes(p.state)).map(([number, p]) => `partition ${number}: ${p["last-error"]}`).join("; ");
  return {
    id: "topic",
    topic: true,
    kind: "Topic",
    name: status.topic.name,
    sub: status.topic.at,
    rows: [["waiting", count(sum("lag"))], ["end", count(sum("end"))], ["partitions", count(partitions.length)], ["delivered here", here === partitions.length ? "all" : `${here}`]],
    cells: partitions.slice(0, 32).map(([number, p]) => ({ title: `partition ${number}: ${p.state}, ${plural(p.lag, "record")} waiting${p.here === false ? ", delivered by another host" : ""}`, level: p.lag === 0 ? 0 : p.lag < 1000 ? 1 : 2, elsewhere: p.here === false })),
    tone: problem ? "bad" : "",
    problem,
  };
}

function stage(stage) {
  const building = stage.candidate;
  const rejected = [stage.rejected && `${count(stage.rejected)} rejected`, stage.dropped && `${count(stage.dropped)} dropped`, stage.traps && plural(stage.traps, "trap")].filter(Boolean);
  return {
    id: `stage ${stage.name}`,
    stage: stage.name,
    kind: `Stage · generation ${stage.generation}`,
    name: stage.name,
    sub: building ? `${building.state}…` : [stage.language, stage.world].filter(Boolean).join(", "),
    // Before the first record nothing was measured.
    rows: [["per second", rate(stage["records-per-second"])], ["a record takes", stage["micros-per-record"] ? micros(stage["micros-per-record"]) : "–"], ["rejected", count(stage.rejected)], ["memory", bytes(stage["memory-bytes"])]],
    meter: stage["memory-limit-bytes"] ? stage["memory-bytes"] / stage["memory-limit-bytes"] : null,
    says: rejected.join(", "),
    tone: ["refused", "parked", "quarantined"].includes(building?.state) || stage["last-error"] ? "warn" : "",
    last: stage["last-error"] && `Last rejected: ${stage["last-error"]}`,
  };
}

function sink(sink) {
  const times = sink["write-ms"];
  return {
    id: `sink ${sink.name}`,
    kind: "Sink",
    name: sink.name,
    sub: sink.at,
    rows: [["rows", count(sink.rows)], ["in flight", count(sink["in-flight"])], times ? ["p50 · p99", `${millis(times.p50)} · ${millis(times.p99)}`] : ["written", "with position"], ["retries", count(sink.retries)]],
    tone: sink["last-error"] || sink.state === "backing off" ? "warn" : "",
    problem: sink["last-error"],
  };
}

export function columns(status) {
  return [[source(status)], [topic(status)], ...status.stages.map((one) => [stage(one)]), status.sinks.map(sink)];
}

// ---- where it stands

const TALL = 172;
const WIDE_MIN = 172;
const WIDE_MAX = 236;
const GAP = 52;

/** Places for the columns in this width: side by side where they fit, else one below the other. */
export function layout(columns, width) {
  const wide = Math.min(WIDE_MAX, (width - GAP * (columns.length - 1)) / columns.length);
  if (wide >= WIDE_MIN) {
    const rows = Math.max(...columns.map((column) => column.length));
    const height = rows * (TALL + 18) - 18;
    const left = (width - (wide * columns.length + GAP * (columns.length - 1))) / 2;
    const places = columns.map((column, i) => {
      const top = (height - (column.length * (TALL + 18) - 18)) / 2;
      return column.map((part, j) => ({ ...part, x: left + i * (wide + GAP), y: top + j * (TALL + 18), w: wide, h: TALL }));
    });
    return { places, across: true, height };
  }
  const w = Math.min(width, 460);
  let y = 0;
  const places = columns.map((column) => {
    const row = column.map((part, j) => ({ ...part, x: (width - w) / 2, y: y + j * (TALL + 12), w, h: TALL }));
    y += column.length * (TALL + 12) - 12 + GAP;
    return row;
  });
  return { places, across: false, height: y - GAP };
}

/** The way from one part to the next. */
function way(from, to, across) {
  if (!across) {
    const x = from.x + from.w / 2;
    return `M${x} ${from.y + from.h}V${to.y}`;
  }
  const [a, b] = [from.x + from.w, to.x];
  const [y, z] = [from.y + from.h / 2, to.y + to.h / 2];
  const middle = (a + b) / 2;
  return y === z ? `M${a} ${y}H${b}` : `M${a} ${y}C${middle} ${y} ${middle} ${z} ${b} ${z}`;
}

// ---- drawing

/** Cuts to about this many pixels; the whole text is in the node's title. */
function fit(text, width, size) {
  const most = Math.floor(width / (size * 0.57));
  return text.length > most ? `${text.slice(0, Math.max(1, most - 1))}…` : text;
}

const inner = new WeakMap();

function drawNode(node, part) {
  mark(node, "transform", `translate(${part.x.toFixed(1)} ${part.y.toFixed(1)})`);
  mark(node, "data-tone", part.tone || null);
  const { x, y, ...what } = part;
  const says = JSON.stringify(what);
  if (inner.get(node) === says) return;
  inner.set(node, says);
  const { w, h: tall } = part;
  const text = (at, top, kind, value, end) => s("text", { x: at, y: top, class: kind, "text-anchor": end ? "end" : null }, value);
  const rows = part.rows.flatMap(([name, value], i) => [text(16, 92 + i * 20, "label", name), text(w - 16, 92 + i * 20, "value", fit(value, w - 96, 13), true)]);
  const cells = (part.cells || []).map((cell, i, all) => {
    const wide = Math.min(22, (w - 32) / all.length);
    return s("rect", { class: `cell level-${cell.level}${cell.elsewhere ? " elsewhere" : ""}`, x: 16 + i * wide, y: tall - 11, width: wide - 2, height: 5, rx: 2 }, s("title", {}, cell.title));
  });
  const meter = part.meter === null || part.meter === undefined ? [] : [s("rect", { class: "gauge", x: 16, y: tall - 11, width: w - 32, height: 4, rx: 2 }), s("rect", { class: "used", x: 16, y: tall - 11, width: Math.max(2, Math.min(1, part.meter) * (w - 32)), height: 4, rx: 2 })];
  node.replaceChildren(
    s("title", {}, [part.name, part.sub, part.says, part.last, part.problem, part.stage !== undefined && "Choose: records before and after it", part.topic && "Choose: its partitions"].filter(Boolean).join("\n")),
    s("rect", { class: "box", width: w, height: tall, rx: 14 }),
    s("rect", { class: "stripe", x: 16, width: 28, height: 3, rx: 1.5 }),
    text(16, 25, "kind", fit(part.kind, w - 32, 12)),
    text(16, 46, "name", fit(part.name, w - 32, 17)),
    text(16, 65, part.problem ? "sub trouble" : "sub", fit(part.problem || part.sub || "", w - 32, 12.5)),
    ...rows,
    ...cells,
    ...meter,
  );
}

/** Draws into `root`; `choose(id)` is called for a stage or the topic, and `letters()` for the dead letters. */
export function graph(root, { choose, letters }) {
  const edges = s("g", { class: "edges" });
  const labels = s("g", { class: "labels" });
  const nodes = s("g", { class: "nodes" });
  const svg = s("svg", { class: "graph", role: "group", "aria-label": "The way of a record, from source to sink" }, edges, nodes, labels);
  root.append(svg);
  let last = null;
  let chosen = null;
  /** Whether the host hands out samples: else a stage is nothing to click on. */
  let sampled = false;

  const can = (part) => part.topic || (part.stage !== undefined && sampled);

  const make = (part) => {
    const act = can(part) ? () => choose(part.id) : part.letters && letters;
    const node = s("g", { class: `node${act ? " act" : ""}`, "data-part": part.id, role: act ? "button" : "group", tabindex: act ? "0" : null });
    if (act) {
      node.addEventListener("click", act);
      node.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        act();
      });
    }
    return node;
  };

  function draw(status = last) {
    last = status;
    const width = root.clientWidth;
    if (!status || !width) return;
    const { places, across, height } = layout(columns(status), width);
    const stages = places.slice(2, -1).flat();
    const feet = stages.length ? stages : places.at(-1);
    const waiting = status["dead-letters"];
    const box = across ? { x: feet[0].x, y: height + 46, w: feet.at(-1).x + feet.at(-1).w - feet[0].x, h: 60 } : { x: feet[0].x, y: height + 46, w: feet[0].w, h: 60 };
    const dead = { id: "dead-letters", letters: true, ...box };
    mark(svg, "viewBox", `0 0 ${width} ${box.y + box.h + 2}`);
    svg.style.height = `${box.y + box.h + 2}px`;

    // A rate of a way is that of the part it leads to; into the topic, what was published. All over the last ten seconds.
    const into = (i) => (i === 1 ? status.source?.["records-per-second"] : i === places.length - 1 ? status["records-per-second"] : status.stages[i - 2]?.["records-per-second"]);
    const ways = places.slice(1).flatMap((column, i) => places[i].flatMap((from) => (across ? column : column.slice(0, 1)).map((to) => ({ id: `${from.id} ${to.id}`, d: way(across ? from : places[i].at(-1), to, across), rate: into(i + 1), x: across ? (from.x + from.w + to.x) / 2 : to.x + to.w / 2, y: across ? (from.y + to.y + TALL) / 2 : to.y - GAP / 2, first: from === places[i][0] && to === column[0] }))));
    const falls = across ? feet.map((part) => ({ id: `${part.id} falls`, falls: true, d: `M${part.x + part.w / 2} ${part.y + part.h}V${box.y}` })) : [{ id: "falls", falls: true, d: `M${box.x + box.w / 2} ${height}V${box.y}` }];
    list(edges, [...ways, ...falls], (edge) => edge.id, () => s("g", {}, s("path", { class: "way" }), s("path", { class: "drops" })), (node, edge) => {
      const moves = edge.rate > 0;
      mark(node, "class", edge.falls ? `fall${waiting ? " some" : ""}` : moves ? "moving" : "still");
      for (const path of node.children) mark(path, "d", edge.d);
      // Faster streams look faster, within what an eye can follow.
      if (moves) node.lastElementChild.style.animationDuration = `${(2.4 / (1 + Math.log10(1 + edge.rate))).toFixed(2)}s`;
    });
    list(labels, ways.filter((edge) => edge.first && edge.rate !== undefined), (edge) => edge.id, () => s("text", { "text-anchor": "middle" }), (node, edge) => {
      mark(node, "x", across ? edge.x : edge.x + 12), mark(node, "y", across ? edge.y - 9 : edge.y + 4), mark(node, "text-anchor", across ? "middle" : "start");
      const text = `${rate(edge.rate)}/s`;
      if (node.textContent !== text) node.textContent = text;
    });
    list(nodes, places.flat(), (part) => part.id, make, (node, part) => {
      drawNode(node, part);
      if (can(part)) mark(node, "aria-pressed", chosen === part.id);
      else mark(node, "aria-label", `${part.kind} ${part.name}`);
    });
    drawDead(nodes, make, dead, waiting);
  }

  const drawDead = (parent, make, dead, waiting) => {
    let node = parent.querySelector("[data-part='dead-letters']");
    if (!node) {
      node = make(dead);
      parent.append(node);
    }
    mark(node, "transform", `translate(${dead.x} ${dead.y})`);
    mark(node, "data-tone", waiting ? "bad" : null);
    const says = `${dead.w} ${waiting}`;
    if (inner.get(node) === says) return;
    inner.set(node, says);
    node.replaceChildren(
      s("title", {}, "Rejected records, kept with their bytes and the reason"),
      s("rect", { class: "box dead", width: dead.w, height: dead.h, rx: 14 }),
      s("text", { x: 16, y: 26, class: "kind" }, "Dead letters"),
      s("text", { x: 16, y: 46, class: "name" }, waiting ? `${count(waiting)} waiting` : "none"),
    );
  };

  new ResizeObserver(() => draw()).observe(root);
  return {
    draw,
    allow() {
      sampled = true;
      nodes.replaceChildren();
      draw();
    },
    mark(id) {
      chosen = id;
      draw();
    },
  };
}
