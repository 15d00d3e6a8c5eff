// Requests as forms: pictures go as they are, a third smaller than in JSON.

/** A picture's file: of an input, a canvas' `toBlob`, Node's `openAsBlob`, or its bytes. */
export type Picture = Blob | Uint8Array<ArrayBuffer> | ArrayBuffer;

type Value = string | number | boolean | undefined | Picture | readonly (string | Picture)[];

/** The part of a request that is its body: a part for each field, of a list a part each. */
export function formOf(fields: Record<string, unknown>): { body: never; bodySerializer: () => FormData } {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields) as [string, Value][]) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one === undefined || one === "") continue;
      if (typeof one === "object") form.append(name, blobOf(one as Picture), nameOf(one, name));
      else form.append(name, String(one));
    }
  }
  return { body: fields as never, bodySerializer: () => form };
}

const blobOf = (picture: Picture) => (picture instanceof Blob ? picture : new Blob([picture]));

const nameOf = (picture: unknown, field: string) => (picture instanceof File ? picture.name : field);
