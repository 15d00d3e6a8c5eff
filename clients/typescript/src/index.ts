// Client of RECO for browsers and Node. Its types are those of the system's OpenAPI document.

import createFetch from "openapi-fetch";
import { RecoError, answered } from "./errors.js";
import { formOf, type Picture } from "./forms.js";
import { type Retries, retrying } from "./retries.js";
import type { components, paths } from "./schema.js";

export { RecoError } from "./errors.js";
export type { Picture } from "./forms.js";
export type { Retries } from "./retries.js";

export type Schemas = components["schemas"];
export type Person = Schemas["Person"];
export type Conflict = Schemas["Conflict"];

/** Fields of a request, but for those that are arguments of their own. */
type Options<Name extends keyof Schemas, Given extends string> = Omit<Schemas[Name], Given>;
type Filters = NonNullable<paths["/v1/people"]["get"]["parameters"]["query"]>;

export interface Settings {
  /** Where the system is; in a browser this page's own address if it is not given, else http://localhost:8001. */
  url?: string;
  /** Sent as `x-api-key`. */
  key?: string;
  /** Milliseconds until a request is given up; 60,000 if not given. */
  timeout?: number;
  retries?: Retries;
  /** What sends instead of the global `fetch`. */
  fetch?: typeof fetch;
}

/** People, their photos, and faces in pictures. Every method throws a RecoError where it is refused. */
export class Reco {
  readonly #api;

  constructor(settings: Settings = {}) {
    const here = typeof location === "undefined" ? "http://localhost:8001" : location.origin;
    this.#api = createFetch<paths>({
      baseUrl: settings.url ?? here,
      headers: settings.key ? { "x-api-key": settings.key } : {},
      fetch: retrying(settings.fetch ?? fetch, settings.timeout ?? 60_000, settings.retries ?? {}),
    });
  }

  /** Everybody who fits, page by page as they are asked for. */
  async *listPeople(filters: Filters = {}): AsyncGenerator<Person> {
    for (let token: string | undefined = ""; token !== undefined; ) {
      const query: Filters = token ? { ...filters, page_token: token } : filters;
      const page: Schemas["ListPeopleResponse"] = await answered(this.#api.GET("/v1/people", { params: { query } }));
      yield* page.people;
      token = page.next_page_token || undefined;
    }
  }

  getPerson(id: string): Promise<Person> {
    return answered(this.#api.GET("/v1/people/{person_id}", of(id)));
  }

  /** Enrolls somebody by photos, all at once or not at all; sent again it enrolls nobody twice. */
  createPerson(
    name: string, photos: readonly Picture[], options: Options<"CreatePersonRequest", "display_name" | "photos"> = {},
  ): Promise<Schemas["CreatePersonResponse"]> {
    const fields = { request_id: crypto.randomUUID(), ...options, display_name: name, photos };
    return answered(this.#api.POST("/v1/people", formOf(fields)));
  }

  updatePerson(id: string, changes: { display_name?: string; external_id?: string; labels?: string[] }): Promise<Person> {
    const params = { path: { person_id: id }, query: { update_mask: Object.keys(changes).join(",") } };
    return answered(this.#api.PATCH("/v1/people/{person_id}", { params, body: changes }));
  }

  /** Erases somebody; false where there was nobody. */
  async deletePerson(id: string): Promise<boolean> {
    return (await answered(this.#api.DELETE("/v1/people/{person_id}", of(id)))).existed;
  }

  async listPhotos(id: string): Promise<Schemas["EnrolledPhoto"][]> {
    return (await answered(this.#api.GET("/v1/people/{person_id}/photos", of(id)))).photos;
  }

  /** The picture as it is kept, PNG. */
  photoImage(id: string, photoId: string): Promise<Blob> {
    const params = { path: { person_id: id, photo_id: photoId } };
    const path = "/v1/people/{person_id}/photos/{photo_id}:image";
    return answered(this.#api.GET(path, { params, parseAs: "blob" })) as Promise<Blob>;
  }

  async addPhotos(id: string, photos: readonly Picture[], requestId: string = crypto.randomUUID()): Promise<Schemas["PhotoReport"][]> {
    const fields = formOf({ photos, request_id: requestId });
    return (await answered(this.#api.POST("/v1/people/{person_id}/photos", { ...of(id), ...fields }))).photos;
  }

  /** Deletes a photo, the last one only with `deletePerson`; true where the person went with it. */
  async deletePhoto(id: string, photoId: string, deletePerson = false): Promise<boolean> {
    const params = { path: { person_id: id, photo_id: photoId }, query: { delete_person: deletePerson } };
    return (await answered(this.#api.DELETE("/v1/people/{person_id}/photos/{photo_id}", { params }))).person_deleted;
  }

  /** Pairs of people whose photos match: who may be enrolled twice. */
  async *listConflicts(maxFmr?: number): AsyncGenerator<Conflict> {
    for (let token: string | undefined = ""; token !== undefined; ) {
      const query = { ...(maxFmr !== undefined && { max_fmr: maxFmr }), ...(token && { page_token: token }) };
      const page: Schemas["ListConflictsResponse"] = await answered(this.#api.GET("/v1/people:conflicts", { params: { query } }));
      yield* page.conflicts;
      token = page.next_page_token || undefined;
    }
  }

  /** Gives a person the other's photos and labels, and erases the other. */
  mergePerson(id: string, otherId: string): Promise<Person> {
    return answered(this.#api.POST("/v1/people/{person_id}:merge", { ...of(id), body: { other_person_id: otherId } }));
  }

  detect(image: Picture, options: Options<"DetectFacesRequest", "image"> = {}): Promise<Schemas["DetectFacesResponse"]> {
    return answered(this.#api.POST("/v1/faces:detect", formOf({ ...options, image })));
  }

  compare(image: Picture, other: Picture, options: Options<"CompareFacesRequest", "image" | "other_image"> = {}): Promise<Schemas["CompareFacesResponse"]> {
    return answered(this.#api.POST("/v1/faces:compare", formOf({ ...options, image, other_image: other })));
  }

  identify(image: Picture, options: Options<"IdentifyFacesRequest", "image"> = {}): Promise<Schemas["IdentifyFacesResponse"]> {
    return answered(this.#api.POST("/v1/faces:identify", formOf({ ...options, image })));
  }

  verify(id: string, image: Picture, options: Options<"VerifyFaceRequest", "image"> = {}): Promise<Schemas["VerifyFaceResponse"]> {
    return answered(this.#api.POST("/v1/people/{person_id}:verify", { ...of(id), ...formOf({ ...options, image }) }));
  }

  info(): Promise<Schemas["GetInfoResponse"]> {
    return answered(this.#api.GET("/v1/info"));
  }
}

const of = (id: string) => {
  if (!id) throw new RecoError(0, "an ID is wanted");
  return { params: { path: { person_id: id } } };
};
