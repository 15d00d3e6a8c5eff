// The webcam.

import { texts } from "./texts.js";

/** Starts it in a video element; gives a function that stops it. */
export async function start(video) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, facingMode: "user" } });
  } catch {
    throw new Error(texts.picture.noCamera);
  }
  video.srcObject = stream;
  await video.play();
  if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) await new Promise((resolve) => video.addEventListener("loadeddata", resolve, { once: true }));
  return () => {
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
  };
}
