// Pairs of people who match: one person enrolled twice, or two who are alike.

import { personPath, request } from "../api.js";
import { button, element } from "../dom.js";
import { similarity } from "../faces.js";
import { attempt } from "../notice.js";
import { number, texts } from "../texts.js";
import { thumbnail } from "../thumbnail.js";

export function reviewPage() {
  const complaint = element("div");
  const list = element("ul", { class: "pairs" });
  const end = element("div", { "aria-live": "polite" });
  const look = (token = "") => attempt(complaint, async () => {
    end.replaceChildren(element("p", { class: "hint" }, texts.review.looking));
    const query = new URLSearchParams({ page_size: 20, ...(token && { page_token: token }) });
    const { conflicts, next_page_token: next } = await request("GET", `/v1/people:conflicts?${query}`).finally(() => end.replaceChildren());
    list.append(...conflicts.map((conflict) => pairOf(conflict, complaint)));
    if (next) end.replaceChildren(button(texts.review.more, () => look(next)));
    else if (!list.childElementCount) end.replaceChildren(element("p", {}, texts.review.none));
  });
  end.append(button(texts.review.look, () => look(), { class: "main" }));
  return [element("p", {}, texts.review.about), complaint, list, end];
}

function pairOf({ person, other, similarity: alike }, complaint) {
  const row = element("li", {});
  const merge = (kept, gone) => attempt(complaint, async () => {
    if (!confirm(texts.review.mergeSure(kept.display_name, gone.display_name))) return;
    await request("POST", `${personPath(kept.person_id)}:merge`, { other_person_id: gone.person_id });
    row.remove();
  });
  row.append(
    element("div", { class: "two" }, [other, person].map((one) => element("a", { href: `#/people/${encodeURIComponent(one.person_id)}` },
      thumbnail(one), element("strong", {}, one.display_name), element("span", { class: "hint" }, one.person_id)))),
    similarity(alike, number),
    element("p", { class: "actions" }, button(texts.review.merge, () => merge(other, person)),
      button(texts.review.apart, () => row.remove(), { class: "quiet" })));
  return row;
}
