// Who is it? And: do two pictures show one person?

import { Problem, request } from "../api.js";
import { button, element, live } from "../dom.js";
import { framed, liveness, similarity } from "../faces.js";
import { attempt } from "../notice.js";
import { picker } from "../picker.js";
import { release } from "../pictures.js";
import { number, texts } from "../texts.js";

export function tryPage() {
  const place = element("div");
  const tabs = [["identify", identifying], ["compare", comparing]].map(([name, content]) =>
    element("button", { type: "button", role: "tab", "aria-selected": "false", onclick: (event) => open(event.target, content) }, texts.try[name]));
  const open = (tab, content) => {
    for (const one of tabs) one.setAttribute("aria-selected", String(one === tab));
    place.replaceChildren(...content());
  };
  open(tabs[0], identifying);
  return [element("div", { role: "tablist", class: "tabs" }, tabs), place];
}

function identifying() {
  const result = live({ class: "result" });
  const complaint = element("div");
  let shown = null;
  const look = (picture) => attempt(complaint, async () => {
    release(shown);
    shown = picture;
    result.replaceChildren(element("p", { class: "hint" }, texts.try.searching));
    try {
      const [identified, detected] = await Promise.all([
        request("POST", "/v1/faces:identify", { image: picture.base64, top_k: 3 }), detect(picture),
      ]);
      result.replaceChildren(...faces(picture, identified.faces, detected));
    } catch (error) {
      result.replaceChildren();
      throw error;
    }
  });
  return [element("p", {}, texts.try.about), picker(texts.try.identify, look), complaint, result];
}

/** What the faces look like, with liveness where a network for it is at hand. */
async function detect(picture) {
  try {
    return await request("POST", "/v1/faces:detect", { image: picture.base64, check_liveness: true });
  } catch (error) {
    if (!(error instanceof Problem) || error.reason !== "LIVENESS_MODEL_UNAVAILABLE") throw error;
    return request("POST", "/v1/faces:detect", { image: picture.base64 });
  }
}

function faces(picture, identified, detected) {
  if (!identified.length) {
    return [framed(picture, []), element("p", { class: "verdict" }, texts.face.none)];
  }
  const names = identified.map((face) => face.candidates[0]?.person.display_name ?? texts.face.unknown);
  const known = identified.map((face) => !face.unknown);
  return [
    framed(picture, identified.map((face) => face.place.box), names, known),
    element("ol", { class: "faces" }, identified.map((face, index) => faceOf(face, detected.faces[index], names[index]))),
    detected.quality && element("p", { class: "hint" }, texts.face.quality(number(detected.quality.score))),
  ].filter(Boolean);
}

function faceOf(face, looks, name) {
  const best = face.candidates[0];
  const words = looks ? [liveness(looks.liveness), looks.complaints.join(", ") || texts.face.good].filter(Boolean) : [];
  return element("li", {},
    best ? element("a", { href: `#/people/${encodeURIComponent(best.person.person_id)}` }, name) : element("strong", {}, name),
    best && [" ", similarity(best.similarity, number)],
    element("p", { class: "hint" }, words.join(" · ")));
}

function comparing() {
  const complaint = element("div");
  const result = live({ class: "result" });
  const pictures = [null, null];
  const sides = [texts.try.first, texts.try.second].map((label, side) => {
    const content = element("div", { class: "side" });
    const ask = () => picker(label, (picture) => {
      release(pictures[side]);
      pictures[side] = picture;
      show([]);
      if (pictures[0] && pictures[1]) compare();
    }, { pasted: false });
    const show = (boxes) => content.replaceChildren(
      ...(pictures[side] ? [framed(pictures[side], boxes), button(texts.picture.another, () => content.replaceChildren(ask()))] : [ask()]));
    show([]);
    return { content, show };
  });
  const compare = () => attempt(complaint, async () => {
    result.replaceChildren(element("p", { class: "hint" }, texts.try.searching));
    const body = { image: pictures[0].base64, other_image: pictures[1].base64 };
    try {
      const found = await request("POST", "/v1/faces:compare", body);
      sides[0].show(found.faces.map((face) => face.box));
      sides[1].show(found.other_faces.map((face) => face.box));
      result.replaceChildren(...pairs(found.pairs));
    } catch (error) {
      result.replaceChildren();
      throw error;
    }
  });
  return [element("p", {}, texts.try.compareAbout), element("div", { class: "two" }, sides.map((side) => side.content)), complaint, result];
}

function pairs(found) {
  return found.slice(0, 9).map((pair, index) => element("div", { class: "pair" },
    element("p", { class: index ? "" : pair.same_person ? "verdict yes" : "verdict no" },
      pair.same_person ? texts.try.same : texts.try.different),
    found.length > 1 && element("p", { class: "hint" }, texts.try.pair(pair.face + 1, pair.other_face + 1)),
    similarity(pair.similarity, number),
    pair.fmr > 0 && element("p", { class: "hint" }, texts.try.rate(number(Math.round(1 / pair.fmr))))));
}
