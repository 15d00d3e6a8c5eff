// Where a picture comes from: dropped, pasted, chosen, or taken by the camera.

import * as camera from "./camera.js";
import { button, element } from "./dom.js";
import { attempt } from "./notice.js";
import { frame, read } from "./pictures.js";
import { texts } from "./texts.js";

/**
 * An area that gives pictures to `taken`.
 * `label`: what it is called; `pasted`: whether what is pasted into the page is meant for it.
 */
export function picker(label, taken, { pasted = true } = {}) {
  const complaint = element("div");
  const input = element("input", { type: "file", accept: "image/*", class: "hidden", "aria-label": label, tabindex: -1, onchange: () => {
    if (input.files[0]) give(input.files[0]);
    input.value = "";
  } });
  const video = element("video", { muted: true, playsinline: true, "aria-label": texts.picture.preview });
  const shots = element("p", { class: "actions" });
  const preview = element("div", { class: "preview", hidden: true }, video, shots);
  let stop = () => {};

  const give = (file) => attempt(complaint, async () => taken(await read(file)));
  const close = () => {
    stop();
    stop = () => {};
    preview.hidden = true;
  };
  shots.append(
    button(texts.picture.shoot, () => attempt(complaint, async () => {
      const picture = await frame(video);
      close();
      await taken(picture);
    }), { class: "main" }),
    button(texts.picture.stop, close));

  const area = element("section", { class: "picker", "aria-label": label,
    ondragover: (event) => { event.preventDefault(); area.classList.add("over"); },
    ondragleave: () => area.classList.remove("over"),
    ondrop: (event) => {
      event.preventDefault();
      area.classList.remove("over");
      if (event.dataTransfer.files[0]) give(event.dataTransfer.files[0]);
    } },
    element("p", { class: "hint" }, texts.picture.drop),
    element("p", { class: "actions" },
      button(texts.picture.choose, () => input.click(), { class: "main" }),
      button(texts.picture.camera, () => attempt(complaint, async () => {
        stop = await camera.start(video);
        preview.hidden = false;
      }))),
    input, preview, complaint);

  const paste = (event) => {
    if (!area.isConnected) return document.removeEventListener("paste", paste);
    const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    return file && give(file);
  };
  if (pasted) document.addEventListener("paste", paste);
  area.addEventListener("left", close);
  return area;
}
