// Requests to /v1 of the system that serves this page.

import * as session from "./session.js";
import { texts } from "./texts.js";

/** Why a request was refused; `again`: whether it may succeed later as it is. */
export class Problem extends Error {
  constructor(status, message, reason = "", again = false) {
    super(message);
    this.status = status;
    this.reason = reason;
    this.again = again;
  }
}

/** What the system answers, as JSON. Asks for a key where one is wanted; raises Problem. */
export async function request(method, path, body) {
  const answer = await send(method, path, body);
  return answer.json();
}

/** The address of a picture that only those with a key may see; to be revoked by whoever shows it. */
export async function picture(path) {
  const answer = await send("GET", path);
  return URL.createObjectURL(await answer.blob());
}

export const personPath = (id, ...parts) => ["/v1/people", encodeURIComponent(id), ...parts].join("/");

async function send(method, path, body) {
  for (;;) {
    const key = session.key();
    const headers = { ...(key && { "x-api-key": key }), ...(body && { "content-type": "application/json" }) };
    let answer;
    try {
      answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
    } catch {
      throw new Problem(0, texts.problem.unreachable, "", true);
    }
    if (answer.ok) return answer;
    if (answer.status !== 401 || !(await session.ask())) throw await problem(answer);
  }
}

async function problem(answer) {
  const told = await answer.json().catch(() => ({}));
  const reason = told.details?.find((detail) => detail.reason)?.reason ?? "";
  const words = { 401: texts.key.wrong, 403: texts.key.role, 413: texts.problem.large, 429: told.message, 503: texts.problem.busy };
  const message = words[answer.status] ?? told.message ?? answer.statusText;
  return new Problem(answer.status, message, reason, [429, 503, 504].includes(answer.status));
}
