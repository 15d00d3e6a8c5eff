// Whoever uses the package has its types.

import { Reco, type Person } from "reco-client";

export async function names(reco: Reco): Promise<string[]> {
  const found: string[] = [];
  for await (const person of reco.listPeople({ label: "staff" })) found.push(nameOf(person));
  return found;
}

const nameOf = (person: Person): string => person.display_name;

// @ts-expect-error: there is no such option
export const wrong = (reco: Reco) => reco.detect(new Blob(), { check_livenes: true });
