// The frame around all pages: which one is shown goes by the address behind the `#`.

import { button, element } from "./dom.js";
import * as session from "./session.js";
import { texts } from "./texts.js";
import { docsPage } from "./pages/docs.js";
import { enrollPage } from "./pages/enroll.js";
import { installationPage } from "./pages/installation.js";
import { operationsPage } from "./pages/operations.js";
import { peoplePage } from "./pages/people.js";
import { personPage } from "./pages/person.js";
import { reviewPage } from "./pages/review.js";
import { tryPage } from "./pages/try.js";
import { verifyPage } from "./pages/verify.js";

const PAGES = {
  try: tryPage, people: peoplePage, enroll: enrollPage, verify: verifyPage, review: reviewPage,
  operations: operationsPage, installation: installationPage, docs: docsPage,
};

const header = document.getElementById("header");
const main = document.getElementById("main");

function draw() {
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const page = name in PAGES ? name : "try";
  for (const one of main.querySelectorAll(".picker")) one.dispatchEvent(new Event("left"));
  for (const link of header.querySelectorAll("nav a")) {
    if (link.dataset.page === page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${texts.pages[page]} – ${texts.title}`;
  const shown = page === "people" && rest[0] ? personPage(rest[0]) : PAGES[page]();
  main.replaceChildren(element("h1", {}, texts.pages[page]), ...[shown].flat());
  main.focus();
}

document.documentElement.lang = texts.language;
header.append(
  element("a", { href: "#/try", class: "brand" }, element("img", { src: "/console/icon.svg", alt: "" }), texts.title),
  element("nav", { "aria-label": texts.title },
    Object.keys(PAGES).map((page) => element("a", { href: `#/${page}`, "data-page": page }, texts.pages[page]))),
  button(texts.key.forget, () => { session.forget(); location.reload(); }, { class: "quiet", hidden: !session.key() }));
addEventListener("hashchange", draw);
// A picture that misses its place is not to replace the page.
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => event.preventDefault());
draw();
