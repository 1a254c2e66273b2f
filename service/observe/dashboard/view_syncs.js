// Syncs: what has arrived, and how far it is sent.

import { html } from "./vendor/preact-htm.js";
import { withQuery } from "./api.js";
import { ApproveSync, DiscardSync, Removals } from "./actions.js";
import { isReading, useResource } from "./live.js";
import { Badge, Bar, Chips, Choice, Link, may, Moment, More, Name, Needs, NotYet, OfList, Order, orderOf, Section, Since, Table, Terms, Time, Title, Trouble, usePaged, Waiting } from "./ui.js";
import { arrivalState, count, momentText, people, plural, sendingState, sentence, syncState } from "./words.js";

// What is special about a sync.
function notes(sync) {
  const parts = [];
  if (sync.state === "held") parts.push(`would remove ${count(sync.removals)} of ${people(sync.removals_of)}`);
  else if (sync.state === "queued") parts.push("waits for an earlier sync of the segment");
  else if (sync.unfolded_pieces) parts.push("being read");
  if (sync.discarded_users) parts.push(`${count(sync.discarded_users)} discarded`);
  if (sync.rejected) parts.push(plural(sync.rejected, "unusable id"));
  if (sync.superseded > 0) parts.push(`${count(sync.superseded)} overtaken by a newer sync`);
  if (sync.overtaken_users) parts.push(`${count(sync.overtaken_users)} came too late`);
  return parts.join(" · ");
}

function words(sync) {
  const named = [sync.added && `${count(sync.added)} to add`, sync.removed && `${count(sync.removed)} to remove`].filter(Boolean);
  const parts = [named.join(", ") || "nobody to add or remove"];
  if (sync.pages_received < sync.total_pages) parts.push(`${sync.pages_received} of ${sync.total_pages} pages have arrived`);
  if (notes(sync)) parts.push(notes(sync));
  if (sync.pending) parts.push(`${count(sync.pending)} to send`);
  if (sync.failed) parts.push(`${people(sync.failed)} could not be added or removed`);
  return parts.join(" · ");
}

const done = (sync) => Math.max(0, sync.settled + sync.superseded);

// How far sending is, where that is more than the words say. Pages that arrive are told in words: a bar means one thing.
function Progress({ sync }) {
  if (["done", "searching"].includes(sync.state) || !(done(sync) + sync.failed)) return null;
  return html`<${Bar} done=${done(sync)} failed=${sync.failed} total=${sync.changes} label=${`Sync of ${sync.segment_name}`} />`;
}

// Why nothing of some users of a sync is sent yet.
const SET_ASIDE = { held: "held", queued: "queued", receiving: "waiting for pages" };

// Whom the sync names: +14 to add, −3 to remove.
export const named = ({ added, removed }) => [added && `+${count(added)}`, removed && `−${count(removed)}`].filter(Boolean).join(" ") || "nobody";

// Arrival and sending are two things: pages may be missing while all that has come is sent.
const columnsFor = (accounts, ofOneList) => [
  [
    ofOneList ? "Arrived" : "Segment",
    (sync) => html`<${Link} to=${`syncs/${sync.id}`}><strong>${ofOneList ? momentText(sync.last_received_at) : html`<${Name} text=${sync.segment_name} />`}</strong><//>
      ${!ofOneList && html`<div class="hint">${sync.account}</div>`}
      ${notes(sync) && html`<div class="hint">${sentence(notes(sync))}</div>`}
      ${sync.state === "held" && html`<div class="buttons"><${ApproveSync} sync=${sync} /><${DiscardSync} sync=${sync} /></div>`}`,
    { wide: true },
  ],
  ...(ofOneList ? [] : [["Arrived", (sync) => html`<${Time} at=${sync.last_received_at} />`, { badge: true, sort: "latest" }]]),
  ["Pages", (sync) => html`<${Badge} of=${arrivalState(sync)} />`, { badge: true, isIdle: (sync) => sync.pages_received >= sync.total_pages }],
  ["State", (sync) => html`<${Badge} of=${sendingState(sync, accounts.find((found) => found.name === sync.account))} />`, { badge: true, sort: "trouble" }],
  ["Named", (sync) => named(sync), { number: true }],
  ["Done", (sync) => html`${count(done(sync))}<${Progress} sync=${sync} />`, { number: true, isIdle: (sync) => !done(sync) && !sync.failed }],
  ["Failed", (sync) => count(sync.failed), { number: true, sort: "failed", isIdle: (sync) => !sync.failed }],
  ["To send", (sync) => html`${count(sync.pending)}${sync.set_aside > 0 && html`<div class="hint">and ${count(sync.set_aside)} ${SET_ASIDE[sync.state] ?? "being read"}</div>`}`, { number: true, sort: "to_send", isIdle: (sync) => !sync.pending && !sync.set_aside }],
];

export const SyncTable = ({ syncs, accounts, ofOneList = false, empty, order }) => html`<${Table} caption="Syncs" id="sync-rows"
  rows=${syncs} keyOf=${(each) => each.id} columns=${columnsFor(accounts, ofOneList)} empty=${empty} order=${order} />`;

// Those that are over are too many to be counted each second.
const COUNTED = { held: "Held", failed: "Done, with failures", searching: "Looking for refused rows", receiving: "Receiving", queued: "Queued", sending: "To send", waiting: "Tried again later" };
const OVER = [["done", "Done", null], ["discarded", "Discarded", null]];

const statesOf = (found, chosen) => [
  ["", "All", null],
  ...Object.entries(COUNTED).filter(([name]) => found[name] || name === chosen).map(([name, text]) => [name, text, found[name] ?? 0]),
  ...OVER,
];

export function Syncs({ query, go, service }) {
  const order = orderOf("syncs", query);
  const path = withQuery("syncs", { limit: 25, state: query.state, list: query.list, account: query.account, sort: order.sort });
  const { data, error, items, next, more } = usePaged(path);
  const accounts = useResource("accounts").data?.items ?? service.accounts;
  // There is nothing to choose from.
  const isEmpty = items?.length === 0 && !Object.values(query).some(Boolean);
  if (isEmpty) return html`<${Title} text="Syncs" /><section class="card"><p class="hint">No sync yet. <${Link} to="">See what Heap needs<//></p></section>`;
  return html`<${Title} text="Syncs">
      ${items?.length > 0 && html`<a href=${`api/v1/${withQuery("syncs", { format: "csv", state: query.state, list: query.list, account: query.account })}`} download>Download as CSV</a>`}
    <//><${Trouble} error=${error} />
    <div class="filters">
      ${(accounts.length > 1 || query.account) &&
      html`<${Choice} label="Account" value=${query.account ?? ""} options=${[["", "All"], ...accounts.map((each) => [each.name, each.name])]}
        onChange=${(account) => go("syncs", { ...query, account })} />`}
      <${Order} columns=${columnsFor(accounts, false)} order=${order} go=${go} />
      ${query.list && html`<span>Of <${OfList} id=${query.list} /></span><${Link} to="syncs">All syncs<//>`}
    </div>
    ${data
      ? html`<${Chips} label="State" items=${statesOf(data.states, query.state)} chosen=${query.state ?? ""} to=${(state) => withQuery("syncs", { ...query, state })} />
        <section class="card"><${SyncTable} syncs=${items} accounts=${accounts} order=${order} empty="No sync fits." /><${More} next=${next} onClick=${more} /></section>`
      : html`<${Waiting} />`}`;
}

function Held({ id }) {
  const { data, error } = useResource(`syncs/${id}/removals`);
  return html`<${Section} title=${may("operate") ? "Held until you decide" : "Held until somebody decides"} id="held-heading">
    <${Needs} what="To approve or discard the sync" /><${Trouble} error=${error} />${
    data ? html`<${Removals} found=${data} />` : html`<${Waiting} />`
  }<//>`;
}

const MAX_NAMED_PAGES = 10;

// Which pages have not arrived, where all that have are known here.
function missingPages(sync, deliveries) {
  const arrived = new Set(deliveries.map((each) => each.page_number));
  if (arrived.size !== sync.pages_received || sync.pages_received >= sync.total_pages) return "";
  const missing = Array.from({ length: sync.total_pages }, (_, index) => index + 1).filter((page) => !arrived.has(page));
  const named = missing.slice(0, MAX_NAMED_PAGES).map(count).join(", ") + (missing.length > MAX_NAMED_PAGES ? " …" : "");
  return missing.length === 1 ? `Page ${named} has not arrived yet.` : `Pages ${named} have not arrived yet.`;
}

export function Sync({ id }) {
  const { data, error } = useResource(`syncs/${id}`);
  const pages = usePaged(`deliveries?sync=${id}&limit=50`);
  const deliveries = pages.items ?? [];
  const known = useResource("accounts");
  const accounts = known.data?.items ?? [];
  if (!data || isReading(pages, known)) return html`<${Title} text="Sync" /><${NotYet} error=${error} to="syncs" text="All syncs" />`;
  const account = accounts.find((found) => found.name === data.account);
  return html`<${Title} text=${html`<${Name} text=${`Sync of ${data.segment_name}`} />`} badge=${syncState(data, account)}>
      ${data.state === "held" && html`<${ApproveSync} sync=${data} primary=${true} /><${DiscardSync} sync=${data} />`}<//>
    <${Trouble} error=${error ?? pages.error} />
    <section class="card">
      <p>${words(data)}</p><${Progress} sync=${data} />
      ${done(data) + data.failed > 0 && html`<p class="hint">${count(done(data))} of ${plural(data.changes, "change")} done${
        data.failed ? `, ${count(data.failed)} failed` : ""
      }${data.pages_received < data.total_pages ? ", of the pages that are here" : ""}${data.state === "searching" ? ", among them some that Cordial refused in a file" : ""}</p>`}
      <${Terms} items=${[
        ["List", html`<${Link} to=${`lists/${data.list_id}`}>${data.list_name || data.segment_name}<//>`],
        ["Account", html`<${Link} to=${`accounts/${encodeURIComponent(data.account)}`}>${data.account}<//>`],
        ["Heap's sync task", html`<code class="code">${data.task_id}</code>`],
        ["First page", data.total_pages > 1 && html`<${Since} at=${data.first_received_at} />`],
        [data.total_pages === 1 ? "Arrived" : data.pages_received < data.total_pages ? "Latest page" : "Last page", html`<${Since} at=${data.last_received_at} />`],
        [data.state === "discarded" ? "Discarded" : data.pages_received < data.total_pages ? "Sent, as far as it came" : "All sent", data.drained_at && html`<${Since} at=${data.drained_at} />`],
        ["Unusable ids", data.rejected > 0 ? html`<${Link} to=${`unusable?sync=${data.id}`}>${count(data.rejected)}<//>` : null],
      ]} />
    </section>
    ${data.state === "held" && html`<${Held} id=${id} />`}
    <section class="card" aria-labelledby="pages-heading"><h2 id="pages-heading">Pages that arrived</h2>
      ${missingPages(data, deliveries) && html`<p>${missingPages(data, deliveries)}</p>`}
      <${Table} caption="Pages of this sync" rows=${deliveries} keyOf=${(each) => each.id} empty="The pages are forgotten by now."
        columns=${[
          ["Page", (each) => `${each.page_number} of ${data.total_pages}`],
          ["Arrived", (each) => html`<${Moment} at=${each.received_at} />`, { badge: true }],
          ["To add", (each) => count(each.added), { number: true, isIdle: (each) => !each.added }],
          ["To remove", (each) => count(each.removed), { number: true, isIdle: (each) => !each.removed }],
          ["Unusable", (each) => count(each.rejected), { number: true, isIdle: (each) => !each.rejected }],
          ...(deliveries.some((each) => each.superseded_at) ? [["Overtaken", (each) => (each.superseded_at ? "by a newer sync" : "no")]] : []),
        ]} /><${More} next=${pages.next} onClick=${pages.more} />
    </section>`;
}
