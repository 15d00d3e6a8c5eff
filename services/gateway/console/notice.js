// What went wrong, in a region that is read out, with a button where trying again may help.

import { button, element } from "./dom.js";
import { texts } from "./texts.js";

/** Does something, and shows in `region` why it failed if it does; gives what it gave, or undefined. */
export async function attempt(region, action) {
  region.replaceChildren();
  try {
    return await action();
  } catch (error) {
    const again = error.again ? button(texts.problem.again, () => attempt(region, action)) : null;
    region.replaceChildren(element("div", { class: "complaint", role: "alert" },
      element("strong", {}, texts.problem.title), element("p", {}, error.message), again));
    return undefined;
  }
}
