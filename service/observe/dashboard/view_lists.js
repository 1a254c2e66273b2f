// All lists: searched, filtered and sorted where they are kept, the worst first.

import { html } from "./vendor/preact-htm.js";
import { withQuery } from "./api.js";
import { useResource } from "./live.js";
import { Badge, Chips, Choice, Link, Name, Order, orderOf, Search, Table, Time, Title, Trouble, Waiting } from "./ui.js";
import { count, isKeptBack, LIST_STANDING, listState, plural, sentence } from "./words.js";

const ROWS = 50;

// Whether something is being sent of them is said by their accounts.
const CHIPS = { sending: "To send" };

// A filter for each way in which some list stands, the worst first, each with its number.
function Standings({ found, chosen, to }) {
  const all = Object.values(found).reduce((sum, number) => sum + number, 0);
  const shown = Object.entries(LIST_STANDING).filter(([name]) => found[name] || name === chosen);
  return html`<${Chips} label="State" chosen=${chosen} to=${to} items=${[["", "All", all], ...shown.map(([name, [text]]) => [name, CHIPS[name] ?? text, found[name] ?? 0])]} />`;
}

export const listName = (list) => list.list_name || "(not named yet)";

// Where a list does not go on, its reason is why; else it says how its name came about.
export const saysWhy = (list) => ["held", "to_approve", "not_created"].includes(list.standing);
// What keeps the account from being sent keeps its lists from being made as well.
export const needsReason = (list, account) => list.reason && saysWhy(list) && !(list.standing === "not_created" && account && isKeptBack(account));
// One that waits for approval waits for one reason, which its state says.
const isNews = (list, account) => needsReason(list, account) && !list.awaits_approval;
const accountOf = (list, accounts) => accounts.find((each) => each.name === list.account);

const columnsFor = (accounts) => [
  [
    "List",
    (list) => html`<${Link} to=${`lists/${list.id}`}><strong><${Name} text=${list.segment_name} /></strong><//>
      <div class="hint"><${Name} text=${`${list.account} · ${listName(list)}`} /></div>
      ${isNews(list, accountOf(list, accounts)) && html`<div class="hint"><${Name} text=${sentence(list.reason)} /></div>`}`,
    { wide: true, sort: "name", text: true, bothWays: true },
  ],
  ["State", (list) => html`<${Badge} of=${listState(list, accountOf(list, accounts))} />`, { badge: true, sort: "trouble" }],
  ["Wanted", (list) => count(list.wanted), { number: true, sort: "wanted", bothWays: true }],
  ["On the list", (list) => count(list.on_list), { number: true, sort: "on_list", bothWays: true }],
  ["To send", (list) => count(list.pending + list.waiting), { number: true, sort: "to_send", isIdle: (list) => !(list.pending + list.waiting) }],
  ["Failed", (list) => count(list.failed), { number: true, sort: "failed", isIdle: (list) => !list.failed }],
  ["Cordial counts", (list) => (list.counted === null ? "–" : count(list.counted)), { number: true, sort: "counted", bothWays: true, isIdle: (list) => list.counted === null }],
];

export function Lists({ query, go, service }) {
  const after = query.after ?? "";
  const order = orderOf("lists", query);
  const asked = { search: query.search, standing: query.standing, account: query.account, sort: order.sort, reverse: query.reverse };
  const { data, error } = useResource(withQuery("lists", { ...asked, limit: ROWS, after }));
  // Their names are known before anything is read, so that the filter for them pushes nothing aside.
  const accounts = useResource("accounts").data?.items ?? service.accounts;
  const set = (change) => go("lists", { ...query, after: "", ...change });
  const from = after ? parseInt(after, 16) : 0;
  const columns = columnsFor(accounts);
  // There were more lists here before.
  const isPast = from > 0 && data?.items.length === 0;
  const isEmpty = data?.total === 0 && !Object.values(query).some(Boolean);
  return html`<${Title} text="Lists" />
    ${!isEmpty && html`<div class="filters">
      <${Search} label="Search" value=${query.search ?? ""} placeholder="Segment, list or id" onInput=${(search) => set({ search })} />
      ${accounts.length > 1 &&
      html`<${Choice} label="Account" value=${query.account ?? ""} options=${[["", "All"], ...accounts.map((each) => [each.name, each.name])]}
        onChange=${(account) => set({ account })} />`}
      <${Order} columns=${columns} order=${order} go=${go} narrow=${false} more=${[["updated", "Latest sync"]]} />
    </div>`}
    <${Trouble} error=${error} />
    ${data
      ? html`${!isEmpty && html`<${Standings} found=${data.standings} chosen=${query.standing ?? ""} to=${(standing) => withQuery("lists", { ...query, after: "", standing })} />`}
        <section class="card" aria-labelledby="found">
          <p id="found" role="status" class="hint">${plural(data.total, "list")}${
            isPast ? ", none of them on this page" : data.total > ROWS ? `, ${count(from + 1)} to ${count(from + data.items.length)} shown` : ""
          }</p>
          <${Table} caption="Lists" rows=${data.items} keyOf=${(list) => list.id} columns=${columns} order=${order} empty=${isEmpty ? html`No list yet: Heap's first page creates it. <${Link} to="">See what Heap needs<//>` : "No list fits."} />
          ${(from > 0 || data.next) &&
          html`<p class="buttons">
            ${from > 0 &&
            html`<${Link} to=${withQuery("lists", { ...query, after: from > ROWS && !isPast ? (from - ROWS).toString(16) : "" })}>${isPast ? "First page" : "Previous"}<//>`}
            ${data.next && html`<${Link} to=${withQuery("lists", { ...query, after: data.next })}>Next<//>`}
          </p>`}
        </section>`
      : html`<${Waiting} />`}`;
}

const difference = ({ count_differs_by: by }) => (by ? `, ${count(Math.abs(by))} ${by > 0 ? "more" : "fewer"} than confirmed` : "");

export const Counted = ({ list }) =>
  list.counted === null ? "not yet" : html`${count(list.counted)}${difference(list)} (<${Time} at=${list.counted_at} />)`;
