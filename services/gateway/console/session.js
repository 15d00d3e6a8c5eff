// The key: kept in this tab only, and asked for when the system wants one.

import { element, field } from "./dom.js";
import { texts } from "./texts.js";

const NAME = "reco-key";
let asking = null;

export const key = () => sessionStorage.getItem(NAME);

export function forget() {
  sessionStorage.removeItem(NAME);
}

/** Asks for a key; true when one was given. Whoever asks meanwhile gets the same answer. */
export function ask() {
  asking ??= show(key() ? texts.key.wrong : "").finally(() => (asking = null));
  return asking;
}

function show(complaint) {
  return new Promise((resolve) => {
    const input = element("input", { type: "password", autocomplete: "off", required: true, spellcheck: "false" });
    const dialog = element("dialog", { "aria-labelledby": "key-title", onclose: () => {
      if (dialog.returnValue === "given" && input.value.trim()) sessionStorage.setItem(NAME, input.value.trim());
      dialog.remove();
      resolve(dialog.returnValue === "given");
    } },
      element("form", { method: "dialog" },
        element("h2", { id: "key-title" }, texts.key.title),
        element("p", {}, texts.key.about),
        complaint && element("p", { class: "complaint", role: "alert" }, complaint),
        field(texts.key.label, {}, input),
        element("p", { class: "actions" },
          element("button", { value: "given", class: "main" }, texts.key.go),
          element("button", { value: "", formnovalidate: true }, texts.key.cancel))));
    document.body.append(dialog);
    dialog.showModal();
  });
}
