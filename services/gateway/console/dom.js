// Elements, made without HTML: whatever a text holds, it is shown as a text.

/**
 * An element. Attributes that are functions are listeners (`onclick`); false, null and undefined are left out, true is an
 * attribute without a value. Children are elements, texts, or lists of those.
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

let counted = 0;

/** A form's field with its label: `control` is an input, or made of `attributes` of one. */
export function field(label, attributes, control = element(attributes.tag ?? "input", attributes)) {
  control.id ||= `field-${++counted}`;
  return element("p", { class: "field" }, element("label", { for: control.id }, label), control);
}

/** A button that is busy, and cannot be pressed again, while what it does goes on. */
export function button(text, action, attributes = {}) {
  const made = element("button", {
    type: "button",
    ...attributes,
    onclick: async () => {
      made.disabled = true;
      made.setAttribute("aria-busy", "true");
      try {
        await action();
      } finally {
        made.disabled = false;
        made.removeAttribute("aria-busy");
      }
    },
  }, text);
  return made;
}

/** A table of rows of two: a name and what goes with it. */
export function facts(rows) {
  return element("dl", { class: "facts" }, rows.map(([name, ...value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

/** A region whose changes are read out. */
export function live(attributes = {}) {
  return element("div", { "aria-live": "polite", ...attributes });
}
