// The face of a person, fetched when it comes into view.

import { personPath, picture, request } from "./api.js";
import { element } from "./dom.js";

const loaders = new WeakMap();
const watcher = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    watcher.unobserve(target);
    loaders.get(target)();
  }
}, { rootMargin: "200px" });

/** A tile with somebody's first photo; their initials where it cannot be seen. */
export function thumbnail(person) {
  return tile(person.display_name, async () => {
    const { photos } = await request("GET", personPath(person.person_id, "photos"));
    return photos.length ? photoPath(person.person_id, photos[0].photo_id) : null;
  });
}

/** A tile with one photo of somebody. */
export function photo(person, photoId, alt) {
  return tile(person.display_name, async () => photoPath(person.person_id, photoId), alt);
}

const photoPath = (id, photoId) => personPath(id, "photos", `${encodeURIComponent(photoId)}:image`);

function tile(name, find, alt = "") {
  const initials = name.split(/\s+/).map((word) => [...word][0]).slice(0, 2).join("");
  const made = element("span", { class: "tile" }, element("span", { "aria-hidden": "true" }, initials));
  loaders.set(made, async () => {
    try {
      const path = await find();
      if (!path) return;
      const url = await picture(path);
      const image = element("img", { alt, onload: () => URL.revokeObjectURL(url) });
      image.src = url;
      made.replaceChildren(image);
    } catch {
      // Pictures are for some keys only: the initials stay.
    }
  });
  watcher.observe(made);
  return made;
}
