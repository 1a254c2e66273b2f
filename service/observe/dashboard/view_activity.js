// What people did, and what Heap posted: of all, or of one list in one order of time.

import { html } from "./vendor/preact-htm.js";
import { withQuery } from "./api.js";
import { isReading, useResource } from "./live.js";
import { named } from "./view_syncs.js";
import { Badge, Choice, Link, Moment, More, Name, Section, Table, Title, Trouble, usePaged, Waiting } from "./ui.js";
import { actionName, count, keyName, reasonName, SEVERITY, syncState } from "./words.js";

const SHOWN = 100;

const PLACES = { list: "lists", sync: "syncs", account: "accounts", import: "imports" };

// An id says nothing to people: what the list's segment is called stands before it, where there is one still.
function Place({ kind, id, name }) {
  const number = kind === "account" ? id : `${kind} ${id}`;
  return html`<${Link} to=${`${PLACES[kind]}/${encodeURIComponent(id)}`}>${name ? `${name} (${number})` : number}<//>`;
}

// What failures were retried: chosen ones, or all that meet the conditions.
function retried(text, name) {
  const asked = JSON.parse(text);
  const parts = [
    asked.ids && `${count(asked.ids.length)} chosen`,
    asked.segment_id && html`<${Place} kind="list" id=${asked.segment_id} name=${name} />`,
    asked.account && html`<${Place} kind="account" id=${asked.account} />`,
    asked.reason && reasonName(asked.reason).toLowerCase(),
  ].filter(Boolean);
  return parts.length ? parts.map((part, index) => html`${index > 0 && ", "}${part}`) : "all";
}

function target({ action, target: on, segment_name: name }) {
  const [kind] = action.split(".");
  if (action === "failures.retry" && on.startsWith("{")) return retried(on, name);
  if (PLACES[kind] && (kind === "account" || /^\d+$/.test(on))) return html`<${Place} kind=${kind} id=${on} name=${name} />`;
  return on;
}

// Everything that is known of a list, the latest first: what Heap posted, what people did, what was worth knowing.
function entriesOf(syncs, conditions, audit) {
  const condition = (each, at, badge) => ({
    key: `condition ${at} ${each.id}`,
    at,
    badge,
    what: html`<${Link} to=${each.place.replace("#/", "")}>${each.title}<//>`,
  });
  return [
    ...syncs.flatMap((sync) => {
      const link = html`<${Link} to=${`syncs/${sync.id}`}>Sync ${sync.id}<//>`;
      return [
        { key: `sync ${sync.id}`, at: sync.first_received_at, badge: ["Sync arrived", "busy"], what: html`${link}: ${named(sync)}` },
        ...(sync.drained_at ? [{ key: `sent ${sync.id}`, at: sync.drained_at, badge: syncState(sync), what: link }] : []),
      ];
    }),
    ...conditions.items.map((each) => condition(each, each.since, SEVERITY[each.severity])),
    ...conditions.history.flatMap((each) => [condition(each, each.since, SEVERITY[each.severity]), condition(each, each.ended_at, ["Over", "good"])]),
    ...audit.map((each) => ({
      key: `audit ${each.id}`,
      at: each.at,
      badge: ["A person", "busy"],
      what: html`${actionName(each.action)}, by ${keyName(each.actor)}${each.changes > 0 && `, ${count(each.changes)} changed`}`,
    })),
  ].sort((one, other) => new Date(other.at) - new Date(one.at));
}

function OfList({ id }) {
  const { data: list, error } = useResource(`lists/${id}`);
  const audit = useResource(`audit?list=${id}&limit=${SHOWN}`);
  const syncs = useResource(`syncs?list=${id}&limit=${SHOWN}`);
  const conditions = useResource(`conditions?list=${id}`);
  if (!list || isReading(audit, syncs, conditions)) return html`<${Title} text="History" /><${Trouble} error=${error} />${!error && html`<${Waiting} />`}`;
  const entries = entriesOf(syncs.data?.items ?? [], conditions.data ?? { items: [], history: [] }, audit.data?.items ?? []);
  return html`<${Title} text=${html`<${Name} text=${`History of ${list.segment_name}`} />`}><${Link} to=${`lists/${id}`}>Open the list<//><//>
    <${Trouble} error=${error ?? audit.error ?? syncs.error ?? conditions.error} />
    <section class="card"><${Table} caption="History" id="history-rows" rows=${entries.slice(0, SHOWN)} keyOf=${(each) => each.key} empty="Nothing is kept of it any more."
      columns=${[
        ["When", (each) => html`<${Moment} at=${each.at} />`, { badge: true }],
        ["Kind", (each) => html`<${Badge} of=${each.badge} />`, { badge: true, unseen: true }],
        ["What", (each) => html`<span class="wrap">${each.what}</span>`, { wide: true }],
      ]} />${(entries.length > SHOWN || audit.data?.next || syncs.data?.next) && html`<p class="hint">Only the latest are here.</p>`}</section>`;
}

function OfAll({ query, go }) {
  const audit = usePaged(withQuery("audit", { limit: 50, actor: query.actor }));
  const deliveries = usePaged("deliveries?limit=50");
  const actors = [...new Set([...(query.actor ? [query.actor] : []), ...(audit.items ?? []).map((each) => each.actor)])];
  return html`<${Title} text="Activity" /><${Trouble} error=${audit.error ?? deliveries.error} />
    <${Section} title="What people did" id="audit-heading" actions=${audit.items?.length > 0 && html`<a href=${`api/v1/${withQuery("audit", { format: "csv", actor: query.actor })}`} download>Download as CSV</a>`}>
      ${(actors.length > 1 || query.actor) &&
      html`<div class="filters"><${Choice} label="By" value=${query.actor ?? ""} options=${[["", "Everybody"], ...actors.map((each) => [each, keyName(each)])]}
        onChange=${(actor) => go("activity", { actor })} /></div>`}
      ${audit.items
        ? html`<${Table} caption="What people did" id="audit-rows" rows=${audit.items} keyOf=${(each) => each.id} empty="Nobody has done anything yet."
            columns=${[
              ["When", (each) => html`<${Moment} at=${each.at} />`, { badge: true }],
              ["What", (each) => actionName(each.action), { badge: true }],
              ["On what", (each) => html`<span class="wrap">${target(each)}</span>`, { wide: true }],
              ["By", (each) => html`<${Name} text=${keyName(each.actor)} title=${each.actor} />`],
              ["Changes", (each) => count(each.changes), { number: true, isIdle: (each) => !each.changes }],
            ]} /><${More} next=${audit.next} onClick=${audit.more} />`
        : html`<${Waiting} />`}
    <//>
    <${Section} title="Pages from Heap" id="deliveries-heading">
      ${deliveries.items
        ? html`<${Table} caption="Pages from Heap" rows=${deliveries.items} keyOf=${(each) => each.id} empty="None has come yet."
            columns=${[
              ["Arrived", (each) => html`<${Moment} at=${each.received_at} />`, { badge: true }],
              ["Segment", (each) => html`<${Link} to=${`syncs/${each.sync_id}`}><${Name} text=${each.segment_name} /><//><div class="hint"><${Name} text=${each.account} /></div>`, { wide: true }],
              ["Page", (each) => count(each.page_number), { number: true }],
              ["To add", (each) => count(each.added), { number: true, isIdle: (each) => !each.added }],
              ["To remove", (each) => count(each.removed), { number: true, isIdle: (each) => !each.removed }],
              ["Unusable", (each) => count(each.rejected), { number: true, isIdle: (each) => !each.rejected }],
            ]} /><${More} next=${deliveries.next} onClick=${deliveries.more} />`
        : html`<${Waiting} />`}
    <//>`;
}

export const Activity = ({ query, go }) => (query.list ? html`<${OfList} id=${query.list} key=${query.list} />` : html`<${OfAll} query=${query} go=${go} />`);
