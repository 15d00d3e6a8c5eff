// The last hour, long work, keys, and the audit log: for administrators.

import { request } from "../api.js";
import { chart } from "../chart.js";
import { button, element, field } from "../dom.js";
import { attempt } from "../notice.js";
import { rowsOf, table } from "../table.js";
import { number, texts, time } from "../texts.js";

const words = texts.operations;
const LOOK = 2000;

export function operationsPage() {
  return [activity(), work(), keys(), audit()].flat();
}

function activity() {
  const complaint = element("div");
  const charts = element("div", { class: "charts" });
  attempt(complaint, async () => {
    const { minutes, enrolled_people: people } = await request("GET", "/v1/activity");
    const drawn = (label, values) => chart(label, values, words.most(number(Math.max(...values))));
    charts.replaceChildren(
      drawn(words.calls, minutes.map((one) => one.calls)),
      drawn(words.unserved, minutes.map((one) => one.refused + one.failed)),
      drawn(words.median, minutes.map((one) => 1000 * one.median_seconds)),
      drawn(words.p95, minutes.map((one) => 1000 * one.p95_seconds)));
    charts.after(element("p", { class: "hint" }, words.enrolled(people, number(people))));
  });
  return [element("h2", {}, words.activity), complaint, charts];
}

function work() {
  const complaint = element("div");
  const list = element("div", { "aria-live": "polite" });
  const look = async () => {
    const { operations } = await request("GET", "/v1/operations");
    list.replaceChildren(operations.length
      ? table(words.work, words.workColumns, operations.map((one) => operation(one, complaint, look)))
      : element("p", { class: "hint" }, words.noWork));
    if (operations.some((one) => one.state === "STATE_RUNNING")) setTimeout(() => list.isConnected && look().catch(() => {}), LOOK);
  };
  attempt(complaint, look);
  const rebuild = () => attempt(complaint, async () => {
    if (!confirm(words.rebuildSure)) return;
    await request("POST", "/v1/operations:rebuild", {});
    await look();
  });
  return [element("h2", {}, words.work), element("p", { class: "hint" }, words.workAbout), complaint, list,
    element("p", {}, button(words.rebuild, rebuild))];
}

function operation(one, complaint, look) {
  const running = one.state === "STATE_RUNNING";
  const cancel = () => attempt(complaint, async () => {
    await request("POST", `/v1/operations/${encodeURIComponent(one.operation_id)}:cancel`, {});
    await look();
  });
  const name = words.kinds[one.kind] ?? one.kind;
  return [
    [name, element("span", { class: "hint" }, ` ${one.models.join(", ")}`)],
    [words.states[one.state] ?? one.state, one.problem && element("p", { class: "complaint" }, one.problem)],
    [running && element("progress", { max: one.total_people || 1, value: one.done_people, "aria-label": name }),
      `${number(one.done_people)} / ${number(one.total_people)}`],
    time(one.create_time),
    running && one.kind === "KIND_REBUILD" ? button(words.cancel, cancel, { class: "quiet" }) : "",
  ];
}

function keys() {
  const complaint = element("div");
  const list = element("div");
  const made = element("div", { "aria-live": "polite" });
  const name = element("input", { required: true, maxlength: 64, pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]*" });
  const role = element("select", {}, Object.entries(words.roles).map(([value, text]) => element("option", { value }, text)));
  const lifetime = element("select", {}, Object.entries(words.lifetimes).map(([value, text]) => element("option", { value }, text)));
  const look = async () => {
    const { keys: found } = await request("GET", "/v1/keys");
    list.replaceChildren(found.length ? table(words.keys, words.keyColumns, found.map((one) => keyRow(one, complaint, look)))
      : element("p", { class: "hint" }, words.noKeys));
    form.hidden = !found.length;
  };
  const make = () => attempt(complaint, async () => {
    const { secret } = await request("POST", "/v1/keys", { name: name.value, role: role.value, lifetime: lifetime.value });
    made.replaceChildren(element("p", {}, words.made(name.value)), element("pre", {}, secret));
    name.value = "";
    await look();
  });
  const form = element("form", { class: "filters", hidden: true, onsubmit: (event) => { event.preventDefault(); make(); } },
    field(words.keyName, {}, name), field(words.role, {}, role), field(words.lifetime, {}, lifetime),
    element("button", { class: "main" }, words.make));
  attempt(complaint, look);
  return [element("h2", {}, words.keys), complaint, list, form, made];
}

const when = (text) => (text ? time(text) : "–");

function keyRow(one, complaint, look) {
  const revoke = () => attempt(complaint, async () => {
    if (!confirm(words.revokeSure(one.name))) return;
    await request("POST", `/v1/keys/${encodeURIComponent(one.name)}:revoke`, {});
    await look();
  });
  return [one.name, words.roles[one.role] ?? one.role, words.states[one.state] ?? one.state, when(one.expire_time), when(one.last_use_time),
    one.state === "STATE_VALID" ? button(words.revoke, revoke, { class: "quiet" }) : ""];
}

function audit() {
  const complaint = element("div");
  const shown = table(words.audit, words.auditColumns, []);
  const end = element("p", { class: "end" });
  const look = (token) => attempt(complaint, async () => {
    const query = new URLSearchParams({ page_size: 20, ...(token && { page_token: token }) });
    const { entries, next_page_token: next } = await request("GET", `/v1/audit?${query}`);
    shown.querySelector("tbody").append(...rowsOf(entries.map((one) =>
      [time(one.time), one.key, one.action, one.person_id, one.outcome])).children);
    end.replaceChildren(...(next ? [button(words.earlier, () => look(next))] : []));
  });
  look("");
  return [element("h2", {}, words.audit), element("p", { class: "hint" }, words.auditAbout), complaint, shown, end];
}
