// What a person does: buttons that change something, questions before it, and a word after it.

import { $, h, icon } from "./dom.js";
import { token } from "./host.js";

/** Says something in passing; a failure stays until it is closed. */
export function say(text, tone = "") {
  const close = h("button", { type: "button", "aria-label": "Close", onclick: () => toast.remove() }, icon("bad"));
  const toast = h("div", { class: `toast ${tone}` }, h("p", {}, text), close);
  $("toasts").append(toast);
  while ($("toasts").children.length > 4) $("toasts").firstElementChild.remove();
  if (tone !== "bad") setTimeout(() => toast.remove(), 6000);
}

/** Opens a dialog with these nodes; `close` ends it. Focus returns to where it was. */
export function dialog(title, build) {
  const box = h("dialog", { "aria-labelledby": "dialog-title" }, h("h2", { id: "dialog-title" }, title));
  const close = () => box.close();
  box.append(...build(close).filter(Boolean));
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (event) => event.target === box && close());
  document.body.append(box);
  box.showModal();
  return box;
}

/** Asks whether to go on; `body` are nodes that say what will happen. */
export function sure(title, body, label, harm = false) {
  return new Promise((done) => {
    let yes = false;
    const box = dialog(title, (close) => [
      ...body,
      h("div", { class: "row" }, h("button", { class: "do", type: "button", onclick: close }, "Cancel"), h("button", { class: `do main ${harm ? "harm" : ""}`, type: "button", onclick: () => ((yes = true), close()) }, label)),
    ]);
    box.addEventListener("close", () => done(yes));
  });
}

/** Explains how to get the token, and takes one that is pasted. */
export function askForToken(then) {
  const field = h("input", { class: "field mono", type: "password", autocomplete: "off", spellcheck: "false", "aria-label": "Token", placeholder: "paste the token", size: 34 });
  dialog("This page may look, not change", (close) => [
    h("p", { class: "soft" }, "A change needs the token of this host, so that no other web page can make one through your browser. Either"),
    h("ul", { class: "plain" }, h("li", {}, "open the link that ", h("code", {}, "tidemill dev"), " printed: the token is in it; or"), h("li", {}, "paste what stands in the file ", h("code", {}, "token"), " beside the pipeline’s store, by default"), h("li", {}, h("code", {}, `.tidemill/${$("name").textContent}/token`))),
    h(
      "form",
      {
        class: "row start",
        onsubmit(event) {
          event.preventDefault();
          const given = field.value.trim();
          if (!given) return;
          token.keep(given);
          close();
          if (then) then();
        },
      },
      field,
      h("button", { class: "do main" }, "Use it"),
    ),
    h("p", { class: "soft small" }, "It is kept in this tab until you close it."),
  ]);
}

/** A button that changes something. Without the token it explains how to get it; a failure is told. */
export function button(label, symbol, run, { kind = "", title } = {}) {
  const node = h("button", { class: `do changes ${kind}`, type: "button", title }, symbol && icon(symbol), label);
  const go = async () => {
    if (!token.known()) return askForToken(go);
    node.disabled = true;
    try {
      await run();
    } catch (error) {
      if (error.status === 401) askForToken(go);
      else say(error.message, "bad");
    } finally {
      node.disabled = false;
    }
  };
  node.addEventListener("click", go);
  return node;
}
