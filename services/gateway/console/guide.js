// Guided by the camera: frames are judged while somebody looks into it, and the first good one of each pose is kept.

import { request } from "./api.js";
import * as camera from "./camera.js";
import { button, element, live } from "./dom.js";
import { attempt } from "./notice.js";
import { frame, release } from "./pictures.js";
import { texts } from "./texts.js";

const words = texts.enroll.guide;

// Degrees of yaw, from and to, by pose; above 0 is towards the picture's right edge.
const POSES = [["straight", -10, 10], ["left", -35, -12], ["right", 12, 35]];
// Milliseconds between frames, and pixels of a frame's longer side.
const PAUSE = 400;
const LONGEST = 960;

/** The area of the guide; when all poses are there, `taken` gets their pictures. */
export function guide(taken) {
  const video = element("video", { muted: true, playsinline: true, "aria-label": texts.picture.preview });
  const advice = live({ class: "advice" });
  const kept = element("p", { class: "kept" });
  const complaint = element("div");
  const area = element("section", { class: "picker", "aria-label": texts.enroll.camera });
  let stop = () => {};
  const close = () => { stop(); area.remove(); };
  area.append(element("div", { class: "preview" }, video, advice, kept, element("p", { class: "actions" }, button(texts.picture.stop, close))), complaint);
  area.addEventListener("left", close);

  attempt(complaint, async () => {
    stop = await camera.start(video);
    const pictures = [];
    for (const [pose, least, most] of POSES) {
      const picture = await wait(pose, least, most);
      if (!picture) return;
      pictures.push(picture);
      kept.append(element("img", { src: picture.url, alt: words[pose] }));
      advice.replaceChildren(words.taken);
    }
    taken(pictures);
    close();
  });

  async function wait(pose, least, most) {
    for (let first = true; area.isConnected || first; first = false) {
      const picture = await frame(video, LONGEST);
      const { faces } = await request("POST", "/v1/faces:detect", { image: picture.base64 });
      const wanted = advise(faces, pose, least, most);
      if (!wanted) return picture;
      release(picture);
      advice.replaceChildren(wanted);
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
    return null;
  }
  return area;
}

/** What is to be changed before a frame is good for a pose; empty where it is. */
function advise(faces, pose, least, most) {
  if (!faces.length) return words.none;
  if (faces.length > 1) return words.several;
  const [{ complaints, pose: { yaw } }] = faces;
  const wrong = complaints.find((one) => one in words.advice && !(one === "turned away" && pose !== "straight"));
  if (wrong) return words.advice[wrong];
  return yaw < least || yaw > most ? words[pose] : "";
}
