// What may be sent again is, after a while, where the system was too busy or not reached.

import { RecoError } from "./errors.js";

export interface Retries {
  /** How often at most; 4 if not given. */
  times?: number;
  /** Milliseconds before the first, twice as many before each that follows, and no more than 30,000; 250 if not given. */
  first?: number;
}

const LONGEST = 30_000;
const LATER = [429, 503];

/** A `fetch` that gives up after `timeout` milliseconds, and tries again what does no harm twice. */
export function retrying(send: typeof fetch, timeout: number, { times = 4, first = 250 }: Retries) {
  return async (request: Request): Promise<Response> => {
    for (let left = harmless(request) ? times : 0, pause = first; ; left--, pause *= 2) {
      let wait = pause * (0.5 + Math.random() / 2);
      try {
        const answer = await send(request.clone(), { signal: AbortSignal.timeout(timeout) });
        if (!LATER.includes(answer.status) || left <= 0) return answer;
        wait = Math.max(wait, 1000 * Number(answer.headers.get("retry-after") ?? 0));
        await answer.body?.cancel();
      } catch (failure) {
        if (left <= 0) throw new RecoError(0, `${request.url}: ${failure}`);
      }
      await new Promise((resolve) => setTimeout(resolve, Math.min(wait || 0, LONGEST)));
    }
  };
}

/** Erasing and merging are not: the answer would be that there is nobody. Enrolling is, by its `request_id`. */
const harmless = ({ method, url }: Request) => method !== "DELETE" && !new URL(url).pathname.endsWith(":merge");
