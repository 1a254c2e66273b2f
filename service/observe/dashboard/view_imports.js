// Files: changes that travel to Cordial as an import, with the rows that took effect.

import { html } from "./vendor/preact-htm.js";
import { withQuery } from "./api.js";
import { useResource } from "./live.js";
import { Badge, Bar, Link, Name, Time, Trouble, Waiting } from "./ui.js";
import { count, momentText, plural } from "./words.js";

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
  if (each.released || !each.contacts) return ["Left to single calls", "warn"];
  return ["Done", "good"];
}

function Part({ part, isOnly }) {
  const fetched = part.state === "running" ? (part.fetched_at ? ", file fetched" : ", file not fetched yet") : "";
  const job = part.job_id ? ` (Cordial's job ${part.job_id}${fetched})` : "";
  return html`<p class="hint wrap">${isOnly ? "The" : `${plural(part.contacts, "row")}: the`} file ${PARTS[part.state]}${job}${
    part.doubt ? `. ${part.doubt}` : ""
  }${part.doubt_ends_at ? ` Until ${momentText(part.doubt_ends_at)} at the latest.` : ""}</p>`;
}

export const ImportRow = ({ each }) => html`<li class="row">
  <div class="row-head">
    <${Link} to=${`imports/${each.id}`}><strong><${Name} text=${each.lists.map((list) => list.list_name).join(", ") || `Import ${each.id}`} /></strong><//>
    <span class="hint">${each.account} · <${Time} at=${each.started_at} /></span>
    <${Badge} of=${stateOf(each)} />
  </div>
  <p class="hint">${[
    plural(each.contacts, "row"),
    each.settled ? `${count(each.settled)} took effect` : null,
    each.unnamed ? `${count(each.unnamed)} refused and not named yet` : null,
    each.released ? `${count(each.released)} left to single calls` : null,
    plural(each.jobs, "job"),
  ]
    .filter(Boolean)
    .join(" · ")}</p>
  ${each.settled + each.released > 0 &&
  each.state !== "ended" &&
  html`<${Bar} done=${each.settled} failed=${each.released} total=${each.contacts} label=${`Import ${each.id}, rows`} />`}
  ${each.parts.slice(0, 5).map((part) => html`<${Part} key=${part.id} part=${part} isOnly=${each.parts.length === 1} />`)}
  ${each.parts.length > 5 && html`<p class="hint">and ${plural(each.parts.length - 5, "more file")}</p>`}
  ${each.reason && html`<p class="wrap">${each.reason}.</p>`}
</li>`;

export function Imports({ query, id }) {
  const { data, error } = useResource(withQuery("imports", { limit: 50, account: query.account }));
  const items = (data?.items ?? []).filter((each) => id === undefined || String(each.id) === id);
  return html`<h1 tabindex="-1">${id === undefined ? "Imports" : `Import ${id}`}</h1><${Trouble} error=${error} />
    ${data
      ? html`<section class="card">
          <p class="hint">Large backlogs travel to Cordial as files.${query.account && id === undefined ? ` Only those of ${query.account} are here. ` : " "}${
            (query.account || id !== undefined) && html`<${Link} to="imports">All imports<//>`
          }</p>
          <ul class="plain" id="import-rows">${items.map((each) => html`<${ImportRow} key=${each.id} each=${each} />`)}</ul>
          ${!items.length && html`<p class="hint">${id === undefined ? "None yet: single calls do all the work." : "It is not among the latest 50."}</p>`}
        </section>`
      : html`<${Waiting} />`}`;
}
