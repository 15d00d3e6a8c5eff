// Is it the person of an ID?

import { personPath, request } from "../api.js";
import { element, facts, field, live } from "../dom.js";
import { liveness } from "../faces.js";
import { attempt } from "../notice.js";
import { picker } from "../picker.js";
import { release } from "../pictures.js";
import { exactly, number, share, texts } from "../texts.js";

export function verifyPage() {
  const complaint = element("div");
  const result = live({ class: "result" });
  const id = element("input", { required: true, autocomplete: "off" });
  const skip = element("input", { type: "checkbox" });
  const verify = (picture) => attempt(complaint, async () => {
    result.replaceChildren();
    release(picture);
    if (!id.reportValidity()) return;
    const body = { image: picture.base64, skip_liveness: skip.checked, largest_face_only: true };
    result.replaceChildren(...answer(await request("POST", `${personPath(id.value.trim())}:verify`, body)));
  });
  return [
    element("p", {}, texts.verify.about),
    element("div", { class: "narrow" }, field(texts.verify.id, {}, id), element("p", { class: "check" }, element("label", {}, skip, ` ${texts.verify.skip}`))),
    picker(texts.pages.verify, verify), complaint, result,
  ];
}

function answer(told) {
  const large = { OUTCOME_VERIFIED: texts.verify.yes, OUTCOME_NOT_VERIFIED: texts.verify.no, OUTCOME_SPOOF: texts.verify.spoof }[told.outcome];
  const compared = told.threshold > 0;
  return [
    element("p", { class: told.verified ? "verdict large yes" : "verdict large no" }, large, told.person && ` ${told.person.display_name}`),
    element("details", { open: true }, element("summary", {}, texts.verify.numbers), facts([
      ...(compared ? [
        [texts.verify.similarity, number(told.similarity)], [texts.verify.distance, exactly(told.distance)],
        [texts.verify.threshold, exactly(told.threshold)],
        [texts.verify.fmr, told.fmr ? share(told.fmr) : texts.verify.unmeasured],
      ] : []),
      ...told.liveness.map((face) => [texts.verify.liveness, `${liveness(face)} (${exactly(face.score)})`]),
    ])),
  ];
}
