// A person's life in a running system (RECO_URL), by the package as it is published.

import assert from "node:assert/strict";
import { openAsBlob } from "node:fs";
import { test } from "node:test";
import { Reco, RecoError } from "reco-client";

const [ann, two] = await Promise.all([openAsBlob(process.env.ANN), openAsBlob(process.env.TWO)]);
const reco = new Reco({ url: process.env.RECO_URL });
const all = (found) => Array.fromAsync?.(found) ?? collect(found);

async function collect(found) {
  const list = [];
  for await (const one of found) list.push(one);
  return list;
}

test("a life", async () => {
  const created = await reco.createPerson("Ann McLee", [ann, new Uint8Array([1, 2, 3])], { labels: ["staff"] });
  assert.deepEqual(created.photos.map((photo) => photo.outcome), ["OUTCOME_ENROLLED", "OUTCOME_UNDECODABLE"]);
  const id = created.person.person_id;
  assert.deepEqual(await reco.getPerson(id), created.person);
  assert.equal((await reco.identify(two, { top_k: 3, labels: ["staff"] })).faces[0].candidates[0].person.person_id, id);
  assert.equal((await reco.verify(id, two, { skip_liveness: true })).verified, true);
  assert.equal((await reco.compare(ann, two)).pairs[0].same_person, true);
  assert.equal((await reco.detect(ann, { largest_face_only: true })).faces.length, 1);
  const [added] = await reco.addPhotos(id, [two]);
  assert.equal(added.outcome, "OUTCOME_ENROLLED");
  const photos = await reco.listPhotos(id);
  assert.equal(photos.length, 2);
  assert.equal((await (await reco.photoImage(id, photos[0].photo_id)).slice(1, 4).text()), "PNG");
  assert.equal(await reco.deletePhoto(id, photos[0].photo_id), false);
  assert.deepEqual((await reco.updatePerson(id, { labels: [] })).labels, []);

  const twin = (await reco.createPerson("Ann Again", [ann])).person.person_id;
  const pairs = await all(reco.listConflicts());
  assert.deepEqual(pairs.map((pair) => [pair.person.person_id, pair.other.person_id]), [[twin, id]]);
  assert.equal((await reco.mergePerson(id, twin)).person_id, id);
  assert.deepEqual((await all(reco.listPeople({ name_prefix: "ann", page_size: 1 }))).map((one) => one.person_id), [id]);
  assert.equal(await reco.deletePerson(id), true);
  assert.equal(await reco.deletePerson(id), false);
  assert.ok((await reco.info()).version);
});

test("refusals", async () => {
  await assert.rejects(reco.getPerson("RECO_ID_404"), (error) =>
    error instanceof RecoError && error.status === 404 && error.reason === "NOT_ENROLLED");
  await assert.rejects(reco.createPerson("", [ann]), (error) => error.reason === "NAME_INVALID" && error.fields[0] === "display_name");
  const nobody = new Reco({ url: "http://127.0.0.1:1", retries: { times: 1, first: 1 } });
  await assert.rejects(nobody.info(), (error) => error instanceof RecoError && error.status === 0);
});

test("what may be sent again is, and what may not is not", async () => {
  for (const [ask, times] of [[(one) => one.getPerson("x"), 3], [(one) => one.createPerson("A", [ann]), 3], [(one) => one.deletePerson("x"), 1]]) {
    let sent = 0;
    const busy = async () => (sent++, new Response('{"message": "later"}', { status: 503, headers: { "content-type": "application/json" } }));
    await assert.rejects(ask(new Reco({ url: "http://reco", fetch: busy, retries: { times: 2, first: 1 } })), { status: 503, message: "later" });
    assert.equal(sent, times);
  }
});
