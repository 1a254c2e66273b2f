// Files: changes that travel to Cordial as an import, with the rows that took effect.

import { html } from "./vendor/preact-htm.js";
import { EndDoubt, inDoubt } from "./actions.js";
import { withQuery } from "./api.js";
import { useResource } from "./live.js";
import { Badge, Bar, Link, More, Name, Needs, NotYet, OfList, Order, orderOf, Table, Time, Title, Trouble, usePaged, Waiting } from "./ui.js";
import { count, momentText, plural, sentence } from "./words.js";

const PARTS = {
  ready: "is to be given to Cordial",
  posting: "is being given to Cordial",
  running: "is being carried out by Cordial",
  settling: "took effect",
  releasing: "is left to single calls",
  in_doubt: "may still be carried out by Cordial",
};

function stateOf(each) {
  if (each.parts.some((part) => part.doubt)) return ["In doubt", "bad"];
  if (each.state === "gathering") return ["Gathering", "busy"];
  if (each.state === "sending") return [each.parts.every((part) => part.state === "running") ? "With Cordial" : "Sending", "busy"];
  if (each.unnamed) return ["Looking for refused rows", "warn"];
  if (each.released || !each.contacts) return ["Left to single calls", "warn"];
  return ["Done", "good"];
}

function Part({ part, isOnly }) {
  const fetched = part.state === "running" ? (part.fetched_at ? ", file fetched" : ", file not fetched yet") : "";
  const job = part.job_id ? ` (Cordial's job ${part.job_id}${fetched})` : "";
  return html`<p class="hint wrap">${isOnly ? "The" : `${plural(part.contacts, "row")}: the`} file ${PARTS[part.state]}${job}${
    part.doubt ? `. ${sentence(part.doubt)}` : ""
  }${part.doubt_ends_at ? ` Until ${momentText(part.doubt_ends_at)} at the latest.` : ""}</p>`;
}

const SHOWN_PARTS = 5;

// Rows of which nobody knows yet what came of them.
const left = (each) => (each.state === "ended" ? 0 : Math.max(0, each.contacts - each.settled - each.released));

const namesOf = (each) => each.lists.map((list) => list.segment_name).join(", ");

const ofAll = (each) => html`<${Link} to=${`imports/${each.id}`}><strong><${Name} text=${namesOf(each) || `Import ${each.id}`} /></strong><//>`;

// What is looked at leads on to its lists.
const ofOne = (each) => each.lists.map((list) => html`<${Link} to=${`lists/${list.id}`} key=${list.id}><strong><${Name} text=${list.segment_name} /></strong><//>`);

const columnsFor = (name) => [
  [
    "Import",
    (each) => html`${name(each)}
      <div class="hint">${each.account}</div>
      ${each.parts.slice(0, SHOWN_PARTS).map((part) => html`<${Part} key=${part.id} part=${part} isOnly=${each.parts.length === 1} />`)}
      ${each.parts.length > SHOWN_PARTS && html`<p class="hint">and ${plural(each.parts.length - SHOWN_PARTS, "more file")}</p>`}
      ${each.reason && html`<p class="wrap">${sentence(each.reason)}</p>`}`,
    { wide: true },
  ],
  ["Started", (each) => html`<${Time} at=${each.started_at} />`, { badge: true, sort: "latest", bothWays: true }],
  ["State", (each) => html`<${Badge} of=${stateOf(each)} />`, { badge: true, sort: "trouble" }],
  ["Rows", (each) => count(each.contacts), { number: true, sort: "rows", bothWays: true }],
  [
    "Done",
    (each) => html`${count(each.settled - each.unnamed)}${
      each.settled + each.released > 0 &&
      each.state !== "ended" &&
      html`<${Bar} done=${each.settled - each.unnamed} failed=${each.released} total=${each.contacts} label=${`Import ${each.id}, rows`} />`
    }`,
    { number: true, sort: "done", bothWays: true },
  ],
  ["Refused, looked for", (each) => count(each.unnamed), { number: true, isIdle: (each) => !each.unnamed }],
  ["To single calls", (each) => count(each.released), { number: true, sort: "single_calls", isIdle: (each) => !each.released }],
  ["Left", (each) => count(left(each)), { number: true, isIdle: (each) => !left(each) }],
  ["Jobs", (each) => count(each.jobs), { number: true }],
];

const columns = columnsFor(ofAll);

export const ImportTable = ({ imports, order, empty, isOne = false }) => html`<${Table} caption="Imports" id="import-rows" rows=${imports}
  keyOf=${(each) => each.id} columns=${isOne ? columnsFor(ofOne) : columns} order=${order} empty=${empty} />`;

const MISSING = { status: 404, message: "There is no import with this id, or it is forgotten by now" };

export function Import({ id }) {
  // The page that begins with it.
  const { data, error } = useResource(`imports?limit=1&after=${(Number(id) + 1).toString(16)}`);
  const found = data?.items.find((each) => String(each.id) === id);
  const names = found && namesOf(found);
  return html`<${Title} text=${html`<${Name} text=${names ? `Import of ${names}` : `Import ${id}`} />`} badge=${found && stateOf(found)} /><${Trouble} error=${error} />${
    !data
      ? html`<${Waiting} />`
      : found
        ? html`${inDoubt(found) > 0 && html`<section class="card notice"><p>Cordial has the file, but nobody knows whether it runs it. Look for the job in Cordial's list of jobs, then say what you saw.</p>
            <p class="buttons"><${EndDoubt} each=${found} job="over" /><${EndDoubt} each=${found} job="never_started" /></p><${Needs} what="To say it here" /></section>`}
          <section class="card"><${ImportTable} imports=${[found]} isOne=${true} /><p class="buttons"><${Link} to="imports">All imports<//></p></section>`
        : html`<${NotYet} error=${MISSING} to="imports" text="All imports" />`
  }`;
}

export function Imports({ query, go }) {
  const order = orderOf("imports", query);
  const path = withQuery("imports", { limit: 25, account: query.account, list: query.list, sort: order.sort, reverse: query.reverse });
  const { data, error, items, next, more } = usePaged(path);
  const isEmpty = items?.length === 0 && !Object.values(query).some(Boolean);
  return html`<${Title} text="Imports" /><${Trouble} error=${error} />
    <p class="hint">Large backlogs travel to Cordial as files.${query.account ? ` Only those of ${query.account} are here. ` : " "}${
      query.list && html`Only those of <${OfList} id=${query.list} /> are here. `
    }${(query.account || query.list) && html`<${Link} to="imports">All imports<//>`}</p>
    ${!isEmpty && html`<div class="filters"><${Order} columns=${columns} order=${order} go=${go} /></div>`}
    ${data
      ? html`<section class="card"><${ImportTable} imports=${items} order=${order}
          empty=${isEmpty ? "None yet: single calls do all the work." : "No import fits."} /><${More} next=${next} onClick=${more} /></section>`
      : html`<${Waiting} />`}`;
}
