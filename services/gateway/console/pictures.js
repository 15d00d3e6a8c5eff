// Pictures on their way to the system: read, turned upright, made no larger than recognition needs, and encoded.

import { texts } from "./texts.js";

// Pixels of the longer side, and JPEG's quality.
const LONGEST = 1600;
const QUALITY = 0.92;

/** A picture ready to be shown and sent: { url, base64, width, height, name }; `url` is revoked by `release`. */
export async function read(file, name = file.name ?? "camera.jpg") {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Error(texts.picture.unreadable);
  }
  return encode(bitmap, name);
}

/** The same of a video's present frame. */
export async function frame(video, longest = LONGEST) {
  return encode(await createImageBitmap(video), "camera.jpg", longest);
}

export function release(picture) {
  if (picture) URL.revokeObjectURL(picture.url);
}

async function encode(bitmap, name, longest = LONGEST) {
  const scale = Math.min(1, longest / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  return { url: URL.createObjectURL(blob), base64: await base64(blob), width: canvas.width, height: canvas.height, name };
}

function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
