// The host behind the page: its status as it comes, its answers, and the token that changes need.

import { clock } from "./format.js";

// ---- questions

async function answer(response) {
  const text = await response.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    body = { error: text };
  }
  if (response.ok) return body;
  const error = new Error((body && body.error) || `the host answered ${response.status}`);
  error.status = response.status;
  throw error;
}

/** `original`: with the token, for what is masked without it. */
export const get = async (path, original = false) => answer(await fetch(path, { cache: "no-store", headers: original ? { authorization: `Bearer ${token.value()}` } : {} }));

export async function post(path, body = {}) {
  if (!token.known()) throw Object.assign(new Error("a change needs the token"), { status: 401 });
  const headers = { "content-type": "application/json", authorization: `Bearer ${token.value()}` };
  try {
    return await answer(await fetch(path, { method: "POST", headers, body: JSON.stringify(body) }));
  } catch (error) {
    if (error.status === 401) token.forget();
    throw error;
  }
}

// ---- the token: it comes in the link's fragment, which no server and no log sees, and stays in this tab

const KEPT = "tidemill-token";
const changed = [];

export const token = {
  value: () => sessionStorage.getItem(KEPT),
  known: () => Boolean(sessionStorage.getItem(KEPT)),
  keep(value) {
    sessionStorage.setItem(KEPT, value);
    changed.forEach((tell) => tell());
  },
  forget() {
    sessionStorage.removeItem(KEPT);
    changed.forEach((tell) => tell());
  },
  onChange: (tell) => changed.push(tell),
  /** Takes it out of the address, so that it is in no history and no screenshot. */
  takeFromLink() {
    const parts = location.hash.slice(1).split("&");
    const given = parts.find((part) => part.startsWith("token="));
    if (!given) return;
    const rest = parts.filter((part) => part !== given).join("&");
    history.replaceState(null, "", rest ? `#${rest}` : location.pathname);
    token.keep(decodeURIComponent(given.slice("token=".length)));
  },
};

// ---- the status, as it comes

/** Calls `draw` with each status and `link` with what the connection is: `live` or `lost`, and a sentence. */
export function watch(draw, link) {
  let told = 0;
  let newest = null;
  let lost = false;
  const say = (kind, text) => {
    lost = kind === "lost";
    link(kind, text);
  };

  function open() {
    const events = new EventSource("/api/events");
    events.addEventListener("status", (event) => {
      const status = JSON.parse(event.data);
      const restarted = newest && newest["started-ms"] !== status["started-ms"];
      if (lost || !told) say("live", restarted ? `the host was started again at ${clock(status["started-ms"])}` : "");
      told = Date.now();
      newest = status;
      // What nobody sees is not drawn.
      if (!document.hidden) draw(status);
    });
    events.onerror = () => {
      say("lost", told ? `Connection lost. This is how things stood at ${clock(told)}; trying again.` : "The host does not answer; trying again.");
      // The browser tries again by itself, but not after an answer such as "too many pages".
      if (events.readyState === EventSource.CLOSED) setTimeout(open, 3000);
    };
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && newest) draw(newest);
  });
  setInterval(() => {
    if (told && !lost && Date.now() - told > 5000) say("lost", `No news since ${clock(told)}.`);
  }, 1000);
  open();
}
