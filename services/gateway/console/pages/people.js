// Everybody who is enrolled, a page at a time.

import { request } from "../api.js";
import { button, element, field } from "../dom.js";
import { attempt } from "../notice.js";
import { texts } from "../texts.js";
import { thumbnail } from "../thumbnail.js";

const PAGE_SIZE = 48;

export function peoplePage() {
  const complaint = element("div");
  const grid = element("ul", { class: "people" });
  const end = element("div", { class: "end", "aria-live": "polite" });
  const filters = Object.fromEntries(["name_prefix", "label", "external_id"].map((name) => [name, element("input", { type: "search", name })]));

  const load = (token) => attempt(complaint, async () => {
    const given = Object.entries(filters).map(([name, input]) => [name, input.value.trim()]).filter(([, value]) => value);
    const query = new URLSearchParams([...given, ["page_size", PAGE_SIZE], ...(token ? [["page_token", token]] : [])]);
    const { people, next_page_token: next } = await request("GET", `/v1/people?${query}`);
    if (!token) grid.replaceChildren();
    grid.append(...people.map(card));
    end.replaceChildren(
      ...(next ? [button(texts.people.more, () => load(next))] : []),
      ...(grid.childElementCount ? [] : nobody(given.length)));
  });
  load();

  return [
    element("form", { class: "filters", role: "search", onsubmit: (event) => { event.preventDefault(); load(); } },
      field(texts.people.search, {}, filters.name_prefix), field(texts.people.label, {}, filters.label),
      field(texts.people.externalId, {}, filters.external_id), element("button", { class: "main" }, texts.people.find)),
    complaint, grid, end,
  ];
}

function card(person) {
  return element("li", {}, element("a", { href: `#/people/${encodeURIComponent(person.person_id)}` },
    thumbnail(person), element("strong", {}, person.display_name), element("span", { class: "hint" }, person.person_id),
    element("span", { class: "labels" }, person.labels.map((label) => element("span", {}, label)))));
}

function nobody(filtered) {
  if (filtered) return [element("p", {}, texts.people.none)];
  return [element("p", {}, texts.people.first), element("p", {}, element("a", { href: "#/enroll" }, texts.people.enrollFirst))];
}
