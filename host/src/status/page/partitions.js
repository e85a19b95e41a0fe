// The topic's partitions: how far each is, and which host delivers it.

import { h, icon, list, mark, set } from "./dom.js";
import { count, plural, visible } from "./format.js";

const COLUMNS = ["Partition", "Delivered by", "State", "Next", "End", "Waiting", "Generation", "Delivered", "Rejected"];

/** A panel, hidden at first; `close` is called by its button. */
export function partitions(close) {
  const said = h("p", { class: "soft" });
  const body = h("tbody", {});
  const head = h("tr", {}, ...COLUMNS.map((name, i) => h("th", { scope: "col", class: i > 2 ? "r" : null }, name)));
  const table = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Partitions" }, h("table", { class: "partitions" }, h("thead", {}, head), body));
  const node = h("section", { class: "card samples", "aria-label": "Partitions of the topic", hidden: true }, h("div", { class: "lede line" }, h("div", {}, h("h3", {}, "Partitions"), said), h("button", { class: "do bare", type: "button", "aria-label": "Close", onclick: close }, icon("bad"))), table);

  function draw(status) {
    if (node.hidden) return;
    const all = Object.entries(status.partitions);
    const here = all.filter(([, one]) => one.here !== false).length;
    const elsewhere = new Map();
    for (const [, one] of all) if (one.here === false) elsewhere.set(one.host, (elsewhere.get(one.host) || 0) + 1);
    const share = [...elsewhere].map(([host, n]) => `${count(n)} by ${host || "nobody yet"}`);
    set(said, share.length ? `${plural(all.length, "partition")}: ${count(here)} delivered by this host, ${share.join(", ")}. The figures of the page are the sum of all; those of other hosts are as they last saved them.` : `${plural(all.length, "partition")}, all delivered by this host.`);
    list(body, all, ([number]) => number, ([number]) => h("tr", { "data-partition": number }, ...COLUMNS.map((_, i) => h(i ? "td" : "th", { scope: i ? null : "row", class: i > 2 ? "r" : null }))), (row, [number, one]) => {
      const figures = one.figures;
      const values = [number, one.here === false ? one.host || "nobody yet" : "this host", one["last-error"] ? `${one.state}: ${visible(one["last-error"])}` : one.state, ...[one.next, one.end, one.lag, one.generation, figures.emitted + figures.deleted, figures.rejected].map(count)];
      values.forEach((value, i) => set(row.children[i], value));
      row.children[2].title = values[2];
      mark(row, "class", one.here === false ? "elsewhere" : null);
    });
  }

  return { node, draw };
}
