// Photos become people: one by name, many by their folders, or somebody in front of the camera.

import { personPath, request } from "../api.js";
import { button, element, field, live } from "../dom.js";
import { guide } from "../guide.js";
import { attempt } from "../notice.js";
import { read, release } from "../pictures.js";
import { texts } from "../texts.js";
import { labelsOf } from "./person.js";

// People who are enrolled at a time, and characters of base64 that a request holds.
const AT_A_TIME = 2;
const MOST = 7_000_000;

export function enrollPage() {
  const complaint = element("div");
  const rows = element("tbody");
  const table = element("table", { hidden: true }, element("thead", {}, element("tr", {},
    [texts.enroll.person, texts.enroll.photos, texts.enroll.state].map((name) => element("th", { scope: "col" }, name)))), rows);
  const progress = element("progress", { hidden: true, "aria-label": texts.pages.enroll });
  const said = live();
  const labels = element("input");
  const reject = element("input", { type: "checkbox" });
  const start = element("p", { class: "actions" });
  const people = [];

  const add = (name, pictures, id = "") => {
    const person = { name: element("input", { value: name, "aria-label": texts.enroll.name, required: true }),
      id: element("input", { value: id, "aria-label": texts.enroll.id, placeholder: texts.person.id }), pictures, done: false,
      requestId: crypto.randomUUID(), state: element("td", {}, texts.enroll.waiting) };
    people.push(person);
    rows.append(element("tr", {}, element("td", {}, person.name, person.id), element("td", {}, `${pictures.length}`), person.state));
    table.hidden = false;
    const left = people.filter((one) => !one.done).length;
    start.replaceChildren(button(texts.enroll.start(left), run, { class: "main" }));
  };

  const run = () => attempt(complaint, async () => {
    const left = people.filter((one) => !one.done);
    if (!left.every((one) => one.name.reportValidity())) return;
    Object.assign(progress, { hidden: false, max: left.length, value: 0 });
    const shared = { labels: labelsOf(labels.value), on_conflict: reject.checked ? "REJECT" : "" };
    const work = [...left];
    const worker = async () => {
      for (let person = work.shift(); person; person = work.shift()) {
        await enroll(person, shared);
        progress.value += 1;
        said.replaceChildren(texts.enroll.progress(progress.value, left.length));
      }
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, worker));
  });

  const files = chooser(texts.enroll.files, { multiple: true }, (chosen) => add("", chosen));
  const folder = chooser(texts.enroll.folder, { webkitdirectory: true }, (chosen) => {
    for (const [name, photos] of byFolder(chosen)) add(name.replaceAll("_", " "), photos);
  });
  const camera = element("div");
  return [
    element("p", {}, texts.enroll.about),
    element("p", { class: "actions" }, files, folder,
      button(texts.enroll.camera, () => camera.replaceChildren(guide((pictures) => add("", pictures))))),
    camera,
    element("div", { class: "narrow" }, field(texts.enroll.labels, {}, labels),
      element("p", { class: "check" }, element("label", {}, reject, ` ${texts.enroll.reject}`))),
    table, start, progress, said, complaint,
  ];
}

/** Enrolls one person, and writes what came of it into their row. */
async function enroll(person, shared) {
  person.state.replaceChildren(texts.enroll.working);
  try {
    let answer = null;
    for await (const photos of batches(person.pictures)) {
      if (answer) answer.photos.push(...await added(answer.person.person_id, photos));
      else {
        const who = { person_id: person.id.value.trim(), display_name: person.name.value, request_id: person.requestId };
        answer = await request("POST", "/v1/people", { ...who, ...shared, photos });
      }
    }
    person.done = true;
    person.state.replaceChildren(...enrolled(answer));
  } catch (error) {
    person.requestId = crypto.randomUUID();
    person.state.replaceChildren(element("span", { class: "complaint" }, `${texts.enroll.refused}: ${error.message}`));
  }
}

/** The photos, as many at a time as a request holds. */
async function* batches(pictures) {
  let photos = [];
  let size = 0;
  for (const picture of pictures) {
    const { base64, name } = picture.base64 ? picture : await encoded(picture);
    if (photos.length && size + base64.length > MOST) {
      yield photos;
      [photos, size] = [[], 0];
    }
    photos.push({ name, image: base64 });
    size += base64.length;
  }
  yield photos;
}

/** What cannot be read here is sent as nothing, and told as such with the others. */
async function encoded(file) {
  try {
    const picture = await read(file);
    release(picture);
    return picture;
  } catch {
    return { base64: "", name: file.name };
  }
}

/** What became of photos of somebody who is enrolled. */
async function added(id, photos) {
  try {
    return (await request("POST", personPath(id, "photos"), { photos, request_id: crypto.randomUUID() })).photos;
  } catch (error) {
    if (error.reason !== "NO_USABLE_PHOTO") throw error;
    return photos.map(({ name }) => ({ name, outcome: "" }));
  }
}

function enrolled({ person, photos, similar_people: similar }) {
  const refused = photos.filter((photo) => photo.outcome !== "OUTCOME_ENROLLED");
  return [
    element("a", { href: `#/people/${encodeURIComponent(person.person_id)}` }, `${texts.enroll.done}: ${person.person_id}`),
    ...refused.map((photo) => element("div", { class: "hint" }, `${photo.name}: ${texts.enroll.outcome[photo.outcome] ?? texts.enroll.refused}`)),
    ...(similar.length ? [element("div", { class: "complaint" }, texts.enroll.similar(similar.map((one) => one.person.display_name).join(", ")))] : []),
  ];
}

function chooser(text, attributes, chosen) {
  const input = element("input", { type: "file", accept: "image/*", class: "hidden", "aria-label": text, tabindex: -1, ...attributes,
    onchange: () => {
      const files = [...input.files].filter((file) => !file.name.startsWith("."));
      input.value = "";
      if (files.length) chosen(files);
    } });
  return [button(text, () => input.click()), input];
}

/** The photos of each innermost folder, by its name. */
function byFolder(files) {
  const folders = new Map();
  for (const file of files) {
    const parts = file.webkitRelativePath.split("/");
    const folder = parts.at(-2) ?? "";
    folders.set(folder, [...(folders.get(folder) ?? []), file]);
  }
  return folders;
}
