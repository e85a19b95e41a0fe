// The page: tabs, the connection, the theme; each tab draws itself.

import { askForToken, say } from "./act.js";
import { $, h, icon, mark, set, show } from "./dom.js";
import { bytes, clock, count, visible } from "./format.js";
import { get, token, watch } from "./host.js";
import * as live from "./live.js";

/** Name, title, script; and what the host must answer for the tab to be offered. */
const TABS = [
  ["live", "Live", async () => live],
  ["pipeline", "Pipeline", () => import("./pipeline.js")],
  ["plugins", "Plugins", () => import("./plugins.js"), async () => Array.isArray(await get("/api/stages"))],
  ["dead-letters", "Dead letters", () => import("./letters.js"), async () => Boolean((await get("/api/dead-letters/groups")).groups)],
  ["runs", "Runs", () => import("./runs.js")],
  ["logs", "Logs", () => import("./logs.js"), async () => Boolean((await get("/api/logs?limit=1")).lines)],
  ["guide", "Guide", () => import("./guide.js")],
];

// ---- tabs: one is open, the others cost nothing

const parts = new Map();
/** Not the tab's own name: the browser would take the fragment `#live` for a place to jump to. */
const panel = (id) => `${id}-panel`;
let open = null;
let status = null;

for (const [id, name, , needs] of TABS) {
  const tab = h("button", { type: "button", role: "tab", hidden: Boolean(needs), id: `tab-${id}`, "aria-controls": panel(id), "aria-selected": "false", tabindex: "-1", onclick: () => choose(id) }, name);
  $("tabs").append(tab);
  if (!$(panel(id))) $("main").append(h("section", { class: "panel", id: panel(id), role: "tabpanel", "aria-labelledby": `tab-${id}`, hidden: true }));
}
const badge = h("span", { class: "badge", hidden: true });
$("tab-dead-letters").append(badge);

async function choose(id) {
  if (open === id || $(`tab-${id}`).hidden) return;
  const before = open;
  open = id;
  for (const [other] of TABS) {
    const chosen = other === id;
    mark($(`tab-${other}`), "aria-selected", chosen);
    mark($(`tab-${other}`), "tabindex", chosen ? "0" : "-1");
    mark($(panel(other)), "hidden", !chosen);
  }
  $(`tab-${id}`).scrollIntoView({ block: "nearest", inline: "nearest" });
  if (location.hash.slice(1) !== id) history.replaceState(null, "", `#${id}`);
  if (before) parts.get(before)?.hidden?.();
  if (before && window.scrollY > 0) window.scrollTo(0, 0);
  if (!parts.has(id)) {
    const part = await TABS.find(([name]) => name === id)[2]();
    if (!parts.has(id)) {
      part.start?.($(panel(id)), choose);
      parts.set(id, part);
    }
  }
  if (open !== id) return;
  parts.get(id).shown?.();
  if (status) parts.get(id).draw?.(status);
}

$("tabs").addEventListener("keydown", (event) => {
  const offered = TABS.map(([id]) => id).filter((id) => !$(`tab-${id}`).hidden);
  const at = offered.indexOf(open);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: offered.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const id = offered[(to + offered.length) % offered.length];
  choose(id);
  $(`tab-${id}`).focus();
});

addEventListener("hashchange", () => {
  token.takeFromLink();
  fromLink();
});

function fromLink() {
  const wanted = location.hash.slice(1);
  choose(TABS.some(([id]) => id === wanted && !$(`tab-${id}`).hidden) ? wanted : "live");
}

/** Shows the tabs whose answers this host gives. */
async function offer() {
  const wanted = location.hash;
  await Promise.all(
    TABS.map(async ([id, , , needs]) => {
      if (needs) $(`tab-${id}`).hidden = !(await needs().catch(() => false));
    }),
  );
  $("tabs").dataset.offered = "";
  if (wanted.slice(1) && location.hash !== wanted && open === "live") choose(TABS.some(([id]) => `#${id}` === wanted && !$(`tab-${id}`).hidden) ? wanted.slice(1) : "live");
}

// ---- the top

const THEMES = ["", "light", "dark"];
const themeButton = h("button", { class: "do bare", type: "button", onclick: () => setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "") + 1) % 3]) }, icon("theme"));
function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  localStorage.setItem("tidemill-theme", theme);
  const name = `Theme: ${theme || "as the system"}`;
  themeButton.title = name;
  themeButton.setAttribute("aria-label", name);
}
setTheme(THEMES.includes(localStorage.getItem("tidemill-theme")) ? localStorage.getItem("tidemill-theme") : "");

const keyButton = h("button", { class: "do bare", type: "button", onclick: () => askForToken() }, icon("key"), h("span", { class: "words" }));
function showToken() {
  set(keyButton.lastChild, token.known() ? "may change" : "view only");
  keyButton.title = token.known() ? "This tab has the token: it may change things" : "This tab has no token: it may only look";
  document.body.dataset.token = token.known();
}
token.onChange(showToken);

function drawTop() {
  const source = status.source;
  set($("name"), status.pipeline);
  set($("state-word"), status.state);
  mark($("state"), "data-state", status.state);
  set($("since"), `${new Date(status["started-ms"]).toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${clock(status["started-ms"])}`);
  set($("memory"), bytes(status["rss-bytes"]));
  show($("reason"), visible(status.reason || ""));
  show($("stand-in"), source?.["stand-in-for"] && `Stand-in data: these users are made up by the generator, because the host could not ${source["stand-in-for"]}`);
  $("alarms").hidden = status.alarms.length === 0;
  const alarms = status.alarms.map(visible);
  if ([...$("alarm-list").children].map((item) => item.textContent).join("\n") !== alarms.join("\n")) {
    $("alarm-list").replaceChildren(...alarms.map((alarm) => h("li", {}, alarm)));
  }
  show(badge, status["dead-letters"] ? count(status["dead-letters"]) : "");
  mark(document.body, "data-public", status.public || null);
  document.title = `${count(status.totals.emitted)} · ${status.pipeline} · Tidemill`;
}

// ---- the connection

let wasLost = false;
function link(kind, text) {
  document.body.dataset.link = kind;
  $("link").dataset.link = kind;
  set($("link"), kind === "live" ? "live" : "lost");
  if (kind === "lost") show($("lost"), text);
  else show($("lost"), "");
  if (kind === "live" && wasLost) say(text ? `Connected again: ${text}.` : "Connected again.");
  wasLost = kind === "lost";
}

token.takeFromLink();
showToken();
$("tools").append(keyButton, themeButton);
$("tools").hidden = false;
$("tabs").hidden = false;
offer();
fromLink();
watch((next) => {
  // What it could not answer before it had started.
  if (status?.state === "starting" && next.state !== "starting") offer();
  status = next;
  drawTop();
  parts.get(open)?.draw?.(status);
}, link);
