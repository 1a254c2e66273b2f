// People by name: who could not be added or removed, and which ids cannot be used.

import { html, useState } from "./vendor/preact-htm.js";
import { withQuery } from "./api.js";
import { retry } from "./actions.js";
import { isReading, useResource } from "./live.js";
import { act, Badge, Button, Chips, Link, may, More, Name, Needs, OfList, Order, orderOf, Search, Section, Table, Time, Title, Trouble, usePaged, Waiting } from "./ui.js";
import { count, failureState, latestOf, people, person, plural, reasonName, UNUSABLE } from "./words.js";

const ROWS = 50;
const SHOWN_GROUPS = 5;

// What `dead` and `wanted` let through, in words.
function onlyWho({ dead, wanted }) {
  const what = wanted === undefined ? "added or removed" : wanted ? "added" : "removed";
  return dead ? `could not be ${what}` : dead === undefined ? `is to be ${what}` : `is tried again later, to be ${what}`;
}

const copy = (lines, what) => act(async () => {
  if (!navigator.clipboard) throw new Error("Browsers copy only from pages that come over HTTPS. Download the CSV instead.");
  await navigator.clipboard.writeText(lines.join("\n"));
}, `${plural(lines.length, what)} copied.`);

export function People({ query, go }) {
  const [user, setUser] = useState("");
  const [chosen, setChosen] = useState(new Set());
  const filters = Object.fromEntries(
    Object.entries({ account: query.account, reason: query.reason, list: query.list && Number(query.list) }).filter(([, value]) => value),
  );
  const groups = useResource(withQuery("failures/groups", { account: query.account, list: query.list, dead: query.dead, wanted: query.wanted }));
  const order = orderOf("people", query);
  const shown = Object.fromEntries(["dead", "wanted"].filter((name) => query[name]).map((name) => [name, query[name] === "true"]));
  // A user's id is searched for in the body of a request, never in an address.
  const { items, next, error, more, reset } = usePaged("failures/find", { ...filters, ...shown, sort: order.sort, ...(user && { user }), limit: ROWS });
  const isFiltered = Boolean(query.list || query.reason || query.account || query.dead || query.wanted);
  const isEmpty = items?.length === 0 && !user && !isFiltered;
  // Cordial refused them in a file and did not say whom.
  const unnamed = useResource(isEmpty ? "conditions?id=rows_unnamed" : null);
  const refused = (unnamed.data?.items ?? []).reduce((sum, each) => sum + each.people, 0);
  // Who is found by a part of the id is counted by nobody, and retried one by one.
  const isPart = Boolean(user);
  const ofReason = (groups.data?.items ?? []).filter((each) => !query.reason || each.reason === query.reason);
  const reasons = groups.data?.reasons ?? {};
  const all = Object.values(reasons).reduce((sum, each) => sum + each, 0);
  const total = query.reason ? reasons[query.reason] ?? 0 : all;
  const chips = [...new Set([...Object.keys(reasons), ...(query.reason ? [query.reason] : [])])];
  const choose = (id) => setChosen((before) => {
    const after = new Set(before);
    if (!after.delete(id)) after.add(id);
    return after;
  });
  const retryThese = (selection, number, known) => retry({
    selection,
    number,
    known,
    after: () => {
      setChosen(new Set());
      reset();
    },
  });
  const chosenItems = items?.filter((each) => chosen.has(each.id));
  const columns = [
    ...(may("operate")
      ? [["Chosen", (each) => html`<label class="tick"><input type="checkbox" checked=${chosen.has(each.id)} aria-label=${`Choose ${person(each.contact)}`}
          onChange=${() => choose(each.id)} /></label>`, { unseen: true }]]
      : []),
    ["Person", (each) => html`<strong><${Name} text=${person(each.contact)} /></strong><div class="hint">
      <${Link} to=${`lists/${each.list_id}`}><${Name} text=${`${each.segment_name} · ${each.account}`} /><//></div>`, { wide: true, sort: "name", text: true }],
    ["Wanted", (each) => (each.wanted ? "on the list" : "off the list"), { isIdle: (each) => each.wanted }],
    ["State", (each) => html`<${Badge} of=${failureState(each)} />`, { badge: true, sort: "trouble" }],
    ["First failed", (each) => html`<${Time} at=${each.first_failed_at} />`, { sort: "latest" }],
    ["Cordial's words", (each) => html`<span class="wrap">${each.message}</span><div class="hint">${each.reason}${each.status ? ` · HTTP ${each.status}` : ""}</div>`, { wide: true }],
  ];
  // Who is tried again by itself may still be.
  const yet = ofReason.length > 0 && ofReason.every((each) => !each.dead) ? " yet" : "";
  const top = html`<${Title} text=${`People who could not be added or removed${yet}`} />
    <nav class="tabs" aria-label="People"><${Link} to="people" aria-current="page">Failures<//><${Link} to="unusable">Unusable ids<//></nav>`;
  if (!(items || error) || isReading(groups) || (isEmpty && isReading(unnamed))) return html`${top}<${Waiting} />`;
  return html`${top}
    ${ofReason.length > 0 && html`<${Section} title="By list" id="groups-heading"><ul class="plain" id="failure-groups">${ofReason.slice(0, SHOWN_GROUPS).map(
      (group) => html`<li key=${`${group.list_id} ${group.reason} ${group.dead}`} class="row-head">
        <${Link} to=${withQuery("people", { list: group.list_id, reason: group.reason, dead: group.dead })}>${group.segment_name} · ${people(group.changes)}<//>
        <span class="wrap">${latestOf(group)}</span></li>`,
    )}</ul>${ofReason.length > SHOWN_GROUPS && html`<p class="hint">and more; the largest are here</p>`}<//>`}
    ${!isEmpty && html`<div class="filters">
      <${Search} label="Search" value=${user} placeholder="A part of the id" onInput=${setUser} />
      <${Order} columns=${columns} order=${order} go=${go} />
      ${Object.keys(shown).length > 0 && html`<span>Only who ${onlyWho(shown)}</span>`}
      ${query.list && html`<span>Of <${OfList} id=${query.list} /></span>`}
      ${isFiltered && html`<${Link} to="people">All failures<//>`}
      ${chosen.size > 0 && html`<${Button} primary=${true} text=${`Retry ${count(chosen.size)} chosen…`}
        onClick=${() => retryThese({ ids: [...chosen] }, chosen.size, chosenItems)} />`}
      ${isPart && !next && items?.length > 0 && !chosen.size && html`<${Button} primary=${true} text=${`Retry these ${count(items.length)}…`}
        onClick=${() => retryThese({ ids: items.map((each) => each.id) }, items.length, items)} />`}
      ${total > 0 && !isPart && html`<${Button} primary=${!chosen.size && items?.some((each) => each.dead)} text=${`Retry all ${count(total)}…`} onClick=${() => retryThese({ ...filters, ...shown }, total)} />`}
      ${items?.length > 0 && html`<${Button} text="Copy names" needs="read" onClick=${() => copy(items.map((each) => person(each.contact)), "name")} />`}
      ${groups.data?.items.length > 0 && html`<a href=${`api/v1/${withQuery("failures", { format: "csv", ...filters, ...shown })}`} download>Download as CSV</a>`}
    </div>`}
    ${(all > 0 || query.reason) && html`<${Chips} label="Reason" chosen=${query.reason ?? ""} to=${(reason) => withQuery("people", { ...query, reason })}
      items=${[["", "All", all], ...chips.map((reason) => [reason, reasonName(reason), reasons[reason] ?? 0])]} />`}
    ${items?.some((each) => !each.dead) && html`<p class="hint">Who is tried again later is not counted among the failed people.</p>`}
    ${items?.length > 0 && html`<${Needs} what="To retry" />`}
    <${Trouble} error=${error} />
    ${items
      ? html`<section class="card"><${Table} caption="Failures" rows=${items} keyOf=${(each) => each.id} columns=${columns} order=${order} empty=${!isEmpty ? "Nobody fits." : refused ? `Nobody by name: Cordial refused ${people(refused)} in a file, and the service looks for them.` : "Nobody so far."} />
          <${More} next=${next} onClick=${more} /></section>`
      : null}`;
}

export function Unusable({ query }) {
  const [user, setUser] = useState("");
  const filters = { account: query.account, list: query.list, sync: query.sync, wanted: query.wanted };
  const asked = Object.fromEntries(
    Object.entries({ account: query.account, list: Number(query.list), sync: Number(query.sync), wanted: query.wanted && query.wanted === "true", user }).filter(
      ([, value]) => value || value === false,
    ),
  );
  const { data, error, items, next, more } = usePaged("unusable/find", { ...asked, limit: ROWS });
  const isEmpty = items?.length === 0 && !user && !Object.values(filters).some(Boolean);
  return html`<${Title} text="Ids that cannot be used">${items?.length > 0 && html`<a href=${`api/v1/${withQuery("unusable", { format: "csv", ...filters })}`} download>Download as CSV</a>`}<//>
    <nav class="tabs" aria-label="People"><${Link} to="people">Failures<//><${Link} to="unusable" aria-current="page">Unusable ids<//></nav>
    <p class="hint">Users without an id, or with one that no contact can have. Correct the user property in Heap. Of each page from Heap, the first 1,000 are kept.</p>
    ${!isEmpty && html`<div class="filters">
      <${Search} label="Search" value=${user} placeholder="A part of the id" onInput=${setUser} />
      ${query.list && html`<span>Of <${OfList} id=${query.list} /></span>`}
      ${Object.values(filters).some(Boolean) && html`<${Link} to="unusable">All unusable ids<//>`}
      ${items?.length > 0 && html`<${Button} text="Copy ids" needs="read" onClick=${() => copy(items.map((each) => each.value), "id")} />`}</div>`}
    <${Trouble} error=${error} />
    ${data
      ? html`<section class="card"><${Table} caption="Unusable ids" rows=${items} keyOf=${(each) => each.id} empty=${isEmpty ? "None: every id that has come can be used." : "None fits."}
          columns=${[
            ["Id", (each) => html`<code class="code wrap">${each.value || "(empty)"}</code>`, { wide: true }],
            ["Why", (each) => UNUSABLE[each.reason] ?? each.reason],
            ["Segment", (each) => html`<${Link} to=${`lists/${each.list_id}`}>${each.segment_name}<//>`],
            ["Where", (each) => html`<code class="code">${each.path}</code> of page ${each.page_number}`],
            ["Arrived", (each) => html`<${Time} at=${each.received_at} />`],
          ]} /><${More} next=${next} onClick=${more} /></section>`
      : !error && html`<${Waiting} />`}`;
}
