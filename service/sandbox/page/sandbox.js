"use strict";

const POLL_MS = 1000;
const SEARCH_PAUSE_MS = 200;
const PER_PAGE = 20;
const CALLS_SHOWN = 30;
// A list of a million takes a moment to sort; looking must not slow down what is looked at.
const MEMBERS_REST_FACTOR = 10;

const byId = (id) => document.getElementById(id);
const count = (number) => number.toLocaleString("en");

const chosen = { list: 0, page: 1, search: "" };
const shown = { calls: -1, members: "", imports: "" };
let membersNextAt = 0;
let membersRequest = 0;

async function fetchJson(path) {
  const response = await fetch(path);
  if (!response.ok) {
    throw new Error(`${path}: ${response.status}`);
  }
  return response.json();
}

function element(name, { className = "", text = "", tone = "" } = {}, ...children) {
  const made = document.createElement(name);
  made.className = className;
  // Names and addresses come from outside: text, never markup.
  made.textContent = text;
  if (tone) {
    made.dataset.tone = tone;
  }
  made.append(...children);
  return made;
}

function setText(node, text) {
  // Unchanged text is left alone, so that screen readers hear of changes only.
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

function showConnection(state, text) {
  byId("connection").dataset.state = state;
  setText(byId("connection"), text);
}

function showFigures(state) {
  let successes = 0;
  for (const [status, calls] of Object.entries(state.calls_by_status)) {
    successes += status.startsWith("2") ? calls : 0;
  }
  setText(byId("figure-contacts"), count(state.contacts));
  setText(byId("figure-lists"), count(state.lists.length));
  setText(byId("figure-successes"), count(successes));
  setText(byId("figure-failures"), count(state.calls - successes));
  setText(byId("figure-subscriptions"), count(state.subscription_changes));
  byId("figure-subscriptions").dataset.alarm = String(state.subscription_changes > 0);
  setText(byId("figure-in-flight"), count(state.max_in_flight_per_contact));
  byId("figure-in-flight").dataset.alarm = String(state.max_in_flight_per_contact > 1);
}

function makeListRow(list) {
  const button = element("button", { className: "list-name" });
  button.type = "button";
  button.addEventListener("click", () => chooseList(list.id));
  const row = element("tr", {}, element("td", {}, button));
  row.append(element("td", { className: "number", text: String(list.id) }), element("td", { className: "number" }));
  row.dataset.id = String(list.id);
  return row;
}

function showLists(lists) {
  byId("empty").hidden = lists.length > 0;
  byId("columns").hidden = lists.length === 0;
  const body = byId("list-rows");
  const rows = new Map([...body.rows].map((row) => [row.dataset.id, row]));
  for (const list of lists) {
    // Rows are kept, so that the keyboard's focus stays where it is.
    const row = rows.get(String(list.id)) ?? body.appendChild(makeListRow(list));
    rows.delete(String(list.id));
    const button = row.querySelector("button");
    setText(button, list.name);
    button.setAttribute("aria-pressed", String(list.id === chosen.list));
    setText(row.cells[2], count(list.count));
  }
  for (const row of rows.values()) {
    row.remove();
  }
}

async function showMembers(lists) {
  const list = lists.find((one) => one.id === chosen.list);
  byId("members").hidden = !list;
  byId("members-hint").hidden = Boolean(list);
  setText(byId("members-heading"), list ? `Contacts of ${list.name}` : "Contacts");
  const wanted = list ? JSON.stringify([list, chosen]) : "";
  if (!list || wanted === shown.members || performance.now() < membersNextAt) {
    return;
  }
  const request = ++membersRequest;
  const started = performance.now();
  const query = new URLSearchParams({ search: chosen.search, page: chosen.page, per_page: PER_PAGE });
  const found = await fetchJson(`/sandbox/lists/${encodeURIComponent(list.name)}/contacts?${query}`);
  if (request !== membersRequest) {
    return;
  }
  membersNextAt = performance.now() + (performance.now() - started) * MEMBERS_REST_FACTOR;
  shown.members = wanted;
  const first = (chosen.page - 1) * PER_PAGE;
  byId("member-rows").replaceChildren(...found.contacts.map((contact) => element("li", { text: contact })));
  byId("members-previous").disabled = chosen.page === 1;
  byId("members-next").disabled = first + PER_PAGE >= found.total;
  const range = found.contacts.length
    ? `${count(first + 1)}–${count(first + found.contacts.length)} of ${count(found.total)}`
    : chosen.search
      ? "Nobody matches"
      : "Nobody is on this list";
  setText(byId("members-range"), range);
}

const IMPORT_TONES = { Done: "good", Failed: "bad", Throttled: "warn" };

function makeImportRow(job) {
  const outcomes = Object.entries(job.outcomes)
    .filter(([, rows]) => rows > 0)
    .map(([name, rows]) => element("span", { className: "badge", text: `${count(rows)} ${name}` }));
  return element(
    "tr",
    {},
    element("td", {}, element("span", { className: "badge", text: job.status, tone: IMPORT_TONES[job.status] })),
    element("td", { className: "call", text: job.name || job.id }),
    element("td", { className: "call", text: job.server }),
    element("td", { text: `${count(job.completed_items)} of ${count(job.total_items)}` }),
    element("td", {}, ...outcomes, job.failure),
  );
}

async function showImports(created) {
  byId("imports").hidden = created === 0;
  if (created === 0) {
    return;
  }
  // A job moves without any call that would announce it.
  const { imports } = await fetchJson("/sandbox/imports");
  const described = JSON.stringify(imports);
  if (described !== shown.imports) {
    shown.imports = described;
    byId("import-rows").replaceChildren(...imports.map(makeImportRow));
  }
}

function toneOf(status) {
  if (status === null || status >= 500) {
    return "bad";
  }
  return status < 300 ? "good" : "warn";
}

function makeCallRow(call) {
  const changes = Object.entries(call.body)
    .filter(([key, value]) => typeof value === "boolean" && key !== "suppressTriggers" && key !== "forceSubscribe")
    .filter(([key]) => key !== "enhanced")
    .map(([key, value]) => element("span", { className: "badge", text: `${value ? "+" : "−"} ${key}` }));
  const took = (call.finished_at_seconds - call.arrived_at_seconds) * 1000;
  const status = call.status === null ? "cut" : String(call.status);
  return element(
    "tr",
    {},
    element("td", {}, element("span", { className: "badge", text: status, tone: toneOf(call.status) })),
    element("td", { className: "call", text: `${call.method} ${call.endpoint}` }),
    element("td", { text: call.contact }),
    element("td", {}, ...changes),
    element("td", { className: "number", text: `${took.toFixed(took < 10 ? 1 : 0)} ms` }),
  );
}

async function showCalls(total) {
  if (total === shown.calls) {
    return;
  }
  const { calls } = await fetchJson("/sandbox/calls");
  shown.calls = total;
  byId("calls-hint").hidden = calls.length > 0;
  byId("calls").hidden = calls.length === 0;
  byId("call-rows").replaceChildren(...calls.slice(-CALLS_SHOWN).reverse().map(makeCallRow));
}

async function refresh() {
  try {
    const state = await fetchJson("/sandbox/state");
    showFigures(state);
    showLists(state.lists);
    await Promise.all([showMembers(state.lists), showCalls(state.calls), showImports(state.imports)]);
    showConnection("live", "Live");
  } catch {
    showConnection("lost", "Not reachable, trying again");
  }
}

function lookAt(change) {
  Object.assign(chosen, change);
  membersNextAt = 0;
  refresh();
}

function chooseList(id) {
  byId("members-search").value = "";
  lookAt({ list: id, page: 1, search: "" });
}

async function poll() {
  await refresh();
  setTimeout(poll, POLL_MS);
}

let searchTimer = 0;
byId("members-search").addEventListener("input", (event) => {
  clearTimeout(searchTimer);
  searchTimer = setTimeout(() => lookAt({ search: event.target.value, page: 1 }), SEARCH_PAUSE_MS);
});
byId("members-previous").addEventListener("click", () => lookAt({ page: chosen.page - 1 }));
byId("members-next").addEventListener("click", () => lookAt({ page: chosen.page + 1 }));
setText(byId("own-address"), location.origin);
poll();
