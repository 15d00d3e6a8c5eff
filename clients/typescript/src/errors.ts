// Refusals.

/** Why a request was refused. */
export class RecoError extends Error {
  /**
   * @param status of HTTP; 0 where there was no answer
   * @param reason for programs, such as NOT_ENROLLED; empty where there is none
   * @param fields those at fault
   */
  constructor(readonly status: number, message: string, readonly reason = "", readonly fields: readonly string[] = []) {
    super(message);
    this.name = "RecoError";
  }
}

interface Told {
  message?: string;
  details?: { reason?: string; field_violations?: { field: string }[] }[];
}

/** What a request answers; throws a RecoError where it is refused or nobody answers. */
export async function answered<T>(asked: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  let answer;
  try {
    answer = await asked;
  } catch (failure) {
    throw failure instanceof RecoError ? failure : new RecoError(0, String(failure));
  }
  if (answer.data !== undefined && answer.response.ok) return answer.data;
  const told: Told = typeof answer.error === "object" && answer.error ? answer.error : {};
  const details = Array.isArray(told.details) ? told.details : [];
  const reason = details.find((one) => one.reason)?.reason ?? "";
  const fields = details.flatMap((one) => one.field_violations ?? []).map((one) => one.field);
  throw new RecoError(answer.response.status, told.message ?? answer.response.statusText, reason, fields);
}
