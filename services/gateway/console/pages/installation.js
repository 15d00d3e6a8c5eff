// What this installation is: its services, models, thresholds and limits.

import { request } from "../api.js";
import { element, facts } from "../dom.js";
import { attempt } from "../notice.js";
import { table } from "../table.js";
import { exactly, share, texts } from "../texts.js";

const words = texts.installation;

export function installationPage() {
  const complaint = element("div");
  const content = element("div");
  attempt(complaint, async () => {
    const [info, ready] = await Promise.all([request("GET", "/v1/info"), readiness()]);
    content.replaceChildren(
      facts([[words.version, info.version], [words.distance, info.distance],
        ...Object.entries(ready.stages ?? {}).sort().map(([name, state]) => [name, state === "STATE_SERVING" ? words.serving : words.notServing])]),
      element("h2", {}, words.models), models(info.models),
      element("h2", {}, words.settings), named(info.settings),
      element("h2", {}, words.limits), named(info.limits));
  });
  return [complaint, content];
}

/** Also where a service is down, which is answered 503. */
async function readiness() {
  const answer = await fetch("/readyz", { cache: "no-store" });
  return answer.json().catch(() => ({}));
}

function models(found) {
  const columns = [words.model, words.threshold, words.fmr, words.dimension, words.source];
  return table(words.models, columns, found.map((model) =>
    [model.name, exactly(model.threshold), model.fmr ? share(model.fmr) : texts.verify.unmeasured, exactly(model.dimension), model.threshold_source]));
}

const named = (values) => facts(Object.entries(values).map(([name, value]) =>
  [words.names[name] ?? name, typeof value === "number" ? exactly(value) : value]));
