// The REST interface, from the document that the system serves, with lines to try it here.

import { element } from "../dom.js";
import { attempt } from "../notice.js";
import { request } from "../api.js";
import { texts } from "../texts.js";

export function docsPage() {
  const complaint = element("div");
  const content = element("div");
  attempt(complaint, async () => {
    const { paths, tags } = await request("GET", "/openapi.json");
    const operations = Object.entries(paths).flatMap(([path, verbs]) => Object.entries(verbs).map(([verb, one]) => ({ path, verb, ...one })));
    content.replaceChildren(...tags.map((tag) => section(tag, operations.filter((one) => one.tags.includes(tag.name)))).filter(Boolean));
  });
  return [element("p", {}, texts.docs.about, " ", element("a", { href: "/openapi.json" }, "/openapi.json")), complaint, content];
}

function section(tag, operations) {
  if (!operations.length) return null;
  return element("section", {}, element("h2", {}, tag.name.replace(/Service$/, "")), operations.map((one) =>
    element("details", {}, element("summary", {}, element("code", {}, `${one.verb.toUpperCase()} ${one.path}`), ` ${one.summary}`),
      (one.description ?? "").split("\n\n").map((paragraph) => element("p", {}, paragraph)),
      element("pre", { tabindex: 0 }, curl(one)))));
}

function curl({ path, verb, parameters = [], requestBody }) {
  let address = path;
  const query = new URLSearchParams();
  for (const { name, in: place, example } of parameters) {
    if (place === "path") address = address.replace(`{${name}}`, example ?? name);
    else if (example !== undefined) query.set(name, example);
  }
  const example = requestBody?.content["application/json"]?.example;
  const lines = [`curl ${verb === "get" ? "" : `-X ${verb.toUpperCase()} `}'${location.origin}${address}${query.size ? `?${query}` : ""}'`];
  if (example) lines.push("  -H 'content-type: application/json'", `  -d '${JSON.stringify(example)}'`);
  return lines.join(" \\\n");
}
