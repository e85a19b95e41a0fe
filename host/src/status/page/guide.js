// Guide: for who has never seen a pipeline. Every number is this host's own, and the record that is followed is a real one.

import { h, memo, set } from "./dom.js";
import { bytes, clock, count, millis, plural, rate, visible } from "./format.js";
import { get } from "./host.js";
import { form, kitchen, rail, returned, table, waiter } from "./pictures.js";

const nodes = { numbers: new Map() };
let root;
let timer = null;
let samples = [];
let followed = null;

const SHOP = [
  { id: "source", draw: waiter, shop: "The waiter", does: "takes orders and never cooks", part: "Source" },
  { id: "topic", draw: rail, shop: "The rail", does: "keeps the slips in order until they are done", part: "Topic" },
  { id: "stages", draw: kitchen, shop: "The kitchen", does: "turns a slip into a pizza, one station after the other", part: "Stages" },
  { id: "sinks", draw: table, shop: "The table", does: "is where the guest finds it", part: "Sink" },
  { id: "dead-letters", draw: returned, shop: "The box", does: "keeps the slips that nobody can make, with a note why", part: "Dead letters" },
];

const WHY = [
  ["Why not straight into the table?", "Because a table that is slow or down would then stop who writes, or lose what was written. The topic takes orders at any time, and the kitchen works at its own pace."],
  ["Why keep what is done?", "The topic can be read again from any place. So a mistake in a plugin is repaired by running the records once more, and a second reader costs nothing."],
  ["Why plugins in a sandbox?", "A plugin is somebody’s code. It sees the fields it reads, no file and no network; when it loops or crashes, one record is set aside and the stream goes on."],
  ["Why generations?", "Each change of code gets a number, and every record is decided by exactly one. So a change can be made while records flow, and one can always say which code did what."],
  ["Why dead letters?", "A record that cannot be processed is neither lost nor in the way: it waits with its original bytes and the reason, and is replayed once the code is repaired."],
  ["Why can nothing be lost?", "A position says how far all is settled, and moves only with what it stands for. After a crash the host goes on from there, and a record done twice leaves the table as it was."],
];

export function start(into, goTo) {
  root = into;
  nodes.shop = h("ol", { class: "shop" }, ...SHOP.map((scene) => {
    const number = h("b", { class: "num" });
    const says = h("span", {});
    nodes.numbers.set(scene.id, [number, says]);
    return h("li", { "data-part": scene.id }, scene.draw(), h("h3", {}, scene.shop), h("p", {}, scene.does), h("div", { class: "real" }, h("h4", {}, scene.part), number, says));
  }));
  nodes.way = h("ol", { class: "steps" });
  nodes.which = h("p", { class: "soft" });
  nodes.another = h("button", { class: "do", type: "button", hidden: true, onclick: another }, "Follow another");
  nodes.form = h("p", {});
  nodes.swaps = h("p", {});
  nodes.save = h("li", { hidden: true }, "Save, and it is swapped in between two batches. When it does not compile or does not fit, the code before goes on, and the error stands under ", link("Plugins", "plugins", goTo), ".");
  nodes.toml = h("pre", { class: "code", tabindex: "0", "aria-label": "What changes in the pipeline file" });
  nodes.run = h("pre", { class: "code", tabindex: "0", "aria-label": "The command" });
  root.append(
    h("div", { class: "lede" }, h("div", {}, h("h2", {}, "A pipeline is a pizza shop"), h("p", {}, "Orders come in, are kept in order, are worked on, and end on a table. Below each picture stands the real part, with what it has done so far."))),
    nodes.shop,
    h("section", { class: "card story" }, form(), h("div", {}, h("h2", {}, "And a sign-up form?"), h("p", {}, "When somebody signs up in a web shop, the form is an order slip: a record with a name, an address, a date. The shop must answer at once, so it only puts the slip on the rail. What follows – to tidy the postcode, to find the e-mail provider, to store the row – happens behind the counter, a moment later, and goes on working when a thousand people sign up in the same minute."), nodes.form)),
    h("section", {}, h("div", { class: "lede" }, h("div", {}, h("h2", {}, "One record, step by step"), nodes.which), nodes.another), nodes.way),
    h("section", {}, h("h2", {}, "Why each part is there"), h("div", { class: "whys" }, ...WHY.map(([question, answer]) => h("article", { class: "card" }, h("h3", {}, question), h("p", {}, answer))))),
    h(
      "section",
      { class: "how" },
      h(
        "article",
        { class: "card" },
        h("h2", {}, "Write a plugin, change a plugin"),
        h("p", {}, "A plugin says which fields it reads and which it writes, and is a function from a row to a row. In Rust it looks like this; Python, JavaScript and others do the same."),
        h("pre", { class: "code", tabindex: "0", "aria-label": "A plugin" }, PLUGIN),
        h("ol", { class: "numbered" }, h("li", {}, "Copy a folder below ", h("code", {}, "plugins/"), " and name it as the ", h("code", {}, "plugin"), " of a ", h("code", {}, "[[stage]]"), "."), h("li", {}, "Run ", h("code", {}, "tidemill dev"), ": it is built, and checked against its neighbours before a record meets it."), nodes.save),
        nodes.swaps,
      ),
      h("article", { class: "card" }, h("h2", {}, "Go to Kafka and Cassandra"), h("p", {}, "Everything embedded is the same pipeline on one machine. Two addresses make it a cluster’s:"), nodes.toml, nodes.run, h("p", {}, "Start the same command on a second machine and they share the partitions. Plugins, positions, dead letters and this page stay as they are.")),
    ),
  );
}

const PLUGIN = `fields! {
    EnrichUser
    reads User in Users { email: Text, dob: Timestamp }
    writes Row { email_provider: Text }
}

fn row(&mut self, user: User<'_>, row: &mut Row) -> Decision {
    let Some((_, provider)) = user.email.rsplit_once('@') else {
        return Err(format!("\`{}\` is not an e-mail address", user.email).into());
    };
    row.email_provider.push(provider);
    Ok(Emit)
}`;

const link = (text, tab, goTo) => h("a", { href: `#${tab}`, onclick: (event) => (event.preventDefault(), goTo(tab)) }, text);

// ---- today's numbers

export function draw(status) {
  const partitions = Object.values(status.partitions);
  const sum = (key) => partitions.reduce((total, partition) => total + partition[key], 0);
  const source = status.source;
  const say = (id, number, says) => {
    const [big, small] = nodes.numbers.get(id);
    set(big, number);
    set(small, says);
  };
  say("source", source ? count(source.records) : "–", source ? `records fetched from ${source.kind} in ${plural(source.polls, "poll")}` : "others fill the topic");
  say("topic", count(sum("lag")), `waiting in ${status.topic.name}; ${count(sum("end"))} put there so far`);
  say("stages", String(status.stages.length), status.stages.length ? `${status.stages.map((stage) => stage.name).join(", then ")}; now ${rate(status["records-per-second"])} records/s` : "records go through as they are");
  say("sinks", count(status.totals.emitted), `delivered to ${status.sinks.map((sink) => sink.name).join(", ")}`);
  say("dead-letters", count(status["dead-letters"]), status["dead-letters"] ? "wait with their bytes and the reason" : "wait: every record could be processed");
  drawForm(status.latest[0] || null, status["figures-at-ms"] || null);
  nodes.save.hidden = !status.swaps;
  drawSwaps(status.swaps || null);
  drawCluster(status.pipeline, status.topic, status.sinks.map((sink) => [sink.name, sink.at]));
}

const drawForm = memo((row, at) => {
  const name = row && (row.full_name || row.name || row.username || row.email);
  set(nodes.form, name ? `The last slip that came through here ${at ? `at ${clock(at)} ` : ""}was that of ${name}.` : "");
});

const drawSwaps = memo((swaps) => set(nodes.swaps, swaps && swaps.applied ? `Since this host was started, ${plural(swaps.applied, "change was", "changes were")} swapped in; the last took ${millis(swaps["last-took-ms"])} and held the stream for ${millis(swaps["last-pause-ms"])}${swaps["last-boundary-ms"] ? ` and its rows for ${millis(swaps["last-boundary-ms"])}` : ""}.` : ""));

const drawCluster = memo((pipeline, topic, sinks) => {
  const cluster = topic.at !== "embedded";
  set(nodes.toml, cluster ? `[topic]\nat = "${topic.at}"` : `[profile.cluster]\ntopic.at = "kafka://localhost:9092"\n${sinks.map(([name]) => `sink.${name}.at = "cassandra://localhost:9042"`).join("\n")}`);
  set(nodes.run, cluster ? `This pipeline already runs on ${topic.at.split(":")[0]}.` : `tidemill run ${pipeline}.toml --profile cluster`);
});

// ---- one record

export const shown = () => ask();
export const hidden = () => clearTimeout(timer);

/** Asks until records have come; the one that is followed then stays. */
async function ask() {
  clearTimeout(timer);
  try {
    samples = await get("/api/samples?limit=5");
    if (!followed && samples.length) followed = samples[0];
    drawWay(followed);
  } catch {
    // A host that hands out no samples has no record to follow.
    nodes.which.closest("section").hidden = true;
    return;
  }
  if (!root.hidden && !followed) timer = setTimeout(ask, 1500);
}

async function another() {
  const before = followed;
  samples = await get("/api/samples?limit=5").catch(() => samples);
  const at = samples.findIndex((one) => one.partition === before.partition && one.offset === before.offset);
  followed = samples[(at + 1) % Math.max(samples.length, 1)] || before;
  drawWay(followed);
}

const text = (value) => visible(typeof value === "string" ? value : JSON.stringify(value ?? null));

const drawWay = memo((record) => {
  nodes.another.hidden = !record;
  set(nodes.which, record ? `A real record that came through at ${clock(record["at-ms"])}, as it was at each step.` : "As soon as the next record comes through, it is followed here.");
  if (!record) return nodes.way.replaceChildren();
  const payload = typeof record.payload === "string" ? record.payload : JSON.stringify(record.payload, null, 2);
  const size = new Blob([typeof record.payload === "string" ? record.payload : JSON.stringify(record.payload)]).size;
  const step = (title, says, ...body) => h("li", { class: "card" }, h("h3", {}, title), h("p", { class: "soft" }, says), ...body);
  const stages = record.steps.map((one) => {
    const fields = one.after ? one.changed : [];
    const does = { emitted: `writes ${plural(fields.length, "field")} and hands the record on.`, dropped: "drops it, by intent: nothing of it reaches a table.", deleted: "asks for its row to be deleted.", rejected: `cannot process it: ${one.reason || ""}` }[one.outcome] || one.outcome;
    return step(`Stage ${one.stage}`, does, fields.length ? h("dl", { class: "wrote", tabindex: "0", "aria-label": `What ${one.stage} wrote` }, ...fields.map((name) => h("div", {}, h("dt", {}, name), h("dd", { dir: "auto" }, text(one.after[name]))))) : "");
  });
  const last = record.steps.at(-1);
  const ends = !last || last.outcome === "emitted" ? step("The table", "The row is written, and the position moves past it: all up to here is done.") : last.outcome === "rejected" ? step("The dead letters", "It waits there with its bytes, until the plugin is repaired and somebody replays it.") : step("The end", "The position moves past it: it is settled.");
  nodes.way.replaceChildren(
    step("It arrives", `The source fetched it: ${bytes(size)} of JSON, whatever its shape.`, h("pre", { class: "code", tabindex: "0", "aria-label": "The payload" }, visible(payload ?? "null"))),
    step("It gets its place", `Partition ${record.partition}, offset ${count(record.offset)}: from now on it is safe on disk, and this is its name. Generation ${record.generation} decides it.`),
    ...stages,
    ends,
  );
});
