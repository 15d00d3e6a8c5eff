// Small charts of an hour: a bar a minute, the numbers in words for those who do not see it.

import { element } from "./dom.js";

/** `values`: numbers in their order; `summary`: what they say in words. */
export function chart(label, values, summary) {
  const most = Math.max(...values, 0);
  const bars = values.map((value) => {
    const bar = element("span", { title: String(value) });
    bar.style.height = `${most ? Math.max(2, (100 * value) / most) : 2}%`;
    return bar;
  });
  return element("figure", { class: "chart" },
    element("figcaption", {}, element("strong", {}, label), element("span", { class: "hint" }, summary)),
    element("div", { class: "bars", "aria-hidden": "true" }, bars));
}
