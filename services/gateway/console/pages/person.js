// One person: what is known, the photos, and the way out.

import { personPath, request } from "../api.js";
import { button, element, facts, field, live } from "../dom.js";
import { attempt } from "../notice.js";
import { read, release } from "../pictures.js";
import { number, texts, time } from "../texts.js";
import { photo } from "../thumbnail.js";

export function personPage(id) {
  const complaint = element("div");
  const content = element("div");
  const draw = () => attempt(complaint, async () => {
    const [person, { photos }] = await Promise.all([
      request("GET", personPath(id)), request("GET", personPath(id, "photos")),
    ]);
    content.replaceChildren(known(person), photosOf(person, photos, draw), ways(person));
  });
  draw();
  return [element("p", {}, element("a", { href: "#/people" }, `← ${texts.person.back}`)), complaint, content];
}

export const labelsOf = (text) => text.split(",").map((label) => label.trim()).filter(Boolean);

function known(person) {
  const said = live();
  const complaint = element("div");
  const name = element("input", { value: person.display_name, required: true, maxlength: 120 });
  const externalId = element("input", { value: person.external_id, maxlength: 120 });
  const labels = element("input", { value: person.labels.join(", ") });
  const save = () => attempt(complaint, async () => {
    said.replaceChildren();
    const change = { display_name: name.value, external_id: externalId.value, labels: labelsOf(labels.value) };
    await request("PATCH", `${personPath(person.person_id)}?update_mask=display_name,external_id,labels`, change);
    said.replaceChildren(texts.person.saved);
  });
  return element("section", {}, element("h2", {}, person.display_name),
    facts([[texts.person.id, person.person_id], [texts.person.created, time(person.create_time)], [texts.person.changed, time(person.update_time)]]),
    element("form", { class: "narrow", onsubmit: (event) => { event.preventDefault(); save(); } },
      field(texts.person.name, {}, name), field(texts.person.externalId, {}, externalId), field(texts.person.labels, {}, labels),
      element("p", { class: "actions" }, element("button", { class: "main" }, texts.person.save), said), complaint));
}

function photosOf(person, photos, changed) {
  const complaint = element("div");
  const reports = live();
  const input = element("input", { type: "file", accept: "image/*", multiple: true, class: "hidden", "aria-label": texts.person.add, tabindex: -1,
    onchange: () => attempt(complaint, async () => {
      const files = [...input.files];
      input.value = "";
      for (const file of files) {
        const picture = await read(file);
        release(picture);
        const body = { photos: [{ name: picture.name, image: picture.base64 }], request_id: crypto.randomUUID() };
        const answer = await request("POST", personPath(person.person_id, "photos"), body);
        reports.append(element("p", {}, `${picture.name}: ${texts.enroll.outcome[answer.photos[0].outcome]}`));
      }
      await changed();
    }) });
  const remove = (one) => attempt(complaint, async () => {
    if (photos.length === 1) throw new Error(texts.person.lastPhoto);
    if (!confirm(texts.person.deleteSure)) return;
    await request("DELETE", personPath(person.person_id, "photos", encodeURIComponent(one.photo_id)));
    await changed();
  });
  return element("section", {}, element("h2", {}, texts.person.photos),
    element("ul", { class: "people" }, photos.map((one, index) => element("li", {},
      photo(person, one.photo_id, texts.person.photo(index + 1)),
      one.quality && element("span", {}, `${texts.person.quality} ${number(one.quality.score)}`),
      element("span", { class: "hint" }, `${texts.person.source[one.source]}, ${time(one.create_time)}`),
      button(texts.person.delete, () => remove(one), { class: "quiet" })))),
    element("p", { class: "actions" }, button(texts.person.add, () => input.click()), input), reports, complaint);
}

function ways(person) {
  const complaint = element("div");
  const other = element("input", { required: true });
  const merge = () => attempt(complaint, async () => {
    await request("POST", `${personPath(person.person_id)}:merge`, { other_person_id: other.value.trim() });
    location.reload();
  });
  return element("section", {},
    element("details", {}, element("summary", {}, texts.person.merge), element("p", {}, texts.person.mergeAbout),
      element("form", { class: "narrow", onsubmit: (event) => { event.preventDefault(); merge(); } },
        field(texts.person.mergeId, {}, other), element("button", {}, texts.person.merge))),
    element("p", { class: "actions" }, button(texts.person.erase, () => erase(person, complaint), { class: "danger" })), complaint);
}

/** Asked twice, with what is erased. */
function erase(person, complaint) {
  const go = button(texts.person.eraseFirst, () => {
    if (go.textContent === texts.person.eraseFirst) {
      go.textContent = texts.person.eraseSecond;
      return undefined;
    }
    dialog.close();
    return attempt(complaint, async () => {
      await request("DELETE", personPath(person.person_id));
      location.hash = "#/people";
    });
  }, { class: "danger" });
  const dialog = element("dialog", { "aria-labelledby": "erase-title", onclose: () => dialog.remove() },
    element("h2", { id: "erase-title" }, texts.person.eraseTitle(person.display_name)),
    element("p", {}, texts.person.eraseAbout),
    element("p", { class: "actions" }, go, button(texts.person.cancel, () => dialog.close(), { autofocus: true })));
  document.body.append(dialog);
  dialog.showModal();
}
