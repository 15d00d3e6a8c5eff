// Tables that can be scrolled sideways where there is no room.

import { element } from "./dom.js";

/** A table with a caption for those who do not see it; rows are lists of texts or elements. */
export function table(label, columns, rows) {
  return element("div", { class: "wide", tabindex: 0, role: "region", "aria-label": label }, element("table", {},
    element("thead", {}, element("tr", {}, columns.map((name) => element("th", { scope: "col" }, name)))),
    rowsOf(rows)));
}

/** The body alone, to be put in the place of another. */
export const rowsOf = (rows) => element("tbody", {}, rows.map((row) => element("tr", {}, row.map((cell) => element("td", {}, cell)))));
