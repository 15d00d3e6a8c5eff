// A picture with a frame around each face.

import { element } from "./dom.js";
import { texts } from "./texts.js";

/** `names`: what stands at each frame; `known`: whether somebody is. Boxes are in the picture's pixels. */
export function framed(picture, boxes, names = [], known = []) {
  const frames = boxes.map((box, index) => {
    const made = element("div", { class: known[index] ? "frame known" : "frame" }, element("span", {}, names[index] ?? `${index + 1}`));
    const place = { left: box.x / picture.width, top: box.y / picture.height, width: box.width / picture.width, height: box.height / picture.height };
    for (const [side, part] of Object.entries(place)) made.style[side] = `${100 * part}%`;
    return made;
  });
  return element("div", { class: "framed" }, element("img", { src: picture.url, alt: texts.picture.alt }), frames);
}

/** A face's liveness in words. */
export function liveness(found) {
  const words = { VERDICT_REAL: texts.face.real, VERDICT_SPOOF: texts.face.spoof, VERDICT_UNDECIDABLE: texts.face.undecidable };
  return found ? words[found.verdict] ?? "" : "";
}

/** A bar from 0 to 100 with the number beside it. */
export function similarity(value, number) {
  const meter = element("meter", { min: 0, max: 100, low: 50, high: 60, optimum: 100, value, "aria-label": texts.face.similarity });
  return element("span", { class: "similarity" }, meter, ` ${number(value)}`);
}
