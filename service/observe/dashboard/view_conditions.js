// What a person should know, and what is over.

import { html } from "./vendor/preact-htm.js";
import { useResource } from "./live.js";
import { AccountAction } from "./actions.js";
import { Badge, Link, Section, Table, Time, Trouble, Waiting } from "./ui.js";
import { SEVERITY } from "./words.js";

const encode = encodeURIComponent;

// Where the thing is that a condition is about.
function placeOf(each) {
  if (each.id === "people_failed") return [`people?account=${encode(each.account)}`, "See who"];
  if (each.id === "removals_held") return [`syncs?list=${each.list_id}&state=held`, "See the sync"];
  if (each.id === "users_unusable") return [`unusable?account=${encode(each.account)}`, "See which"];
  if (/^(list|sync|heap|strangers|removals)/.test(each.id) && each.subject) {
    return [`lists?account=${encode(each.account)}&search=${encode(each.subject)}`, "Open the list"];
  }
  if (each.id.startsWith("import")) return [`imports?account=${encode(each.account)}`, "Open the imports"];
  return each.account ? [`accounts/${encode(each.account)}`, `Open ${each.account}`] : null;
}

export function ConditionRow({ each, accounts = [] }) {
  const place = placeOf(each);
  const account = accounts.find((found) => found.name === each.account);
  return html`<li class="row condition" data-severity=${each.severity}>
    <div class="row-head">
      <strong>${[each.account, each.subject].filter(Boolean).join(" · ") || "The service"}</strong>
      <${Badge} of=${SEVERITY[each.severity]} />
      <span class="hint">began <${Time} at=${each.since} /></span>
    </div>
    <p>${each.meaning}</p>
    ${each.detail && html`<p class="wrap">${each.detail}</p>`}
    <p class="hint">${each.what_to_do}</p>
    <p class="buttons">
      ${account && each.id.startsWith("account_") && html`<${AccountAction} account=${account} primary=${each.severity === "critical"} />`}
      ${place && html`<${Link} to=${place[0]}>${place[1]}<//>`}
    </p>
  </li>`;
}

export function Conditions({ query }) {
  const { data, error } = useResource("conditions");
  const accounts = useResource("accounts").data?.items ?? [];
  const wanted = (each) => !query.id || each.id === query.id;
  return html`<h1 tabindex="-1">What you should know</h1><${Trouble} error=${error} />${
    data
      ? html`<section class="card"><ul class="plain" id="attention-rows">${data.items
            .filter(wanted)
            .map((each) => html`<${ConditionRow} key=${`${each.id} ${each.account} ${each.subject}`} each=${each} accounts=${accounts} />`)}</ul>
            ${!data.items.some(wanted) && html`<p>Nothing needs a person now.</p>`}</section>
          <${Section} title="What is over" id="over-heading"><${Table} caption="Conditions that are over"
            keyOf=${(each) => `${each.id} ${each.account} ${each.subject} ${each.since}`} rows=${data.history.filter(wanted)} empty="Nothing yet."
            columns=${[
              ["What", (each) => each.meaning, { wide: true }],
              ["On what", (each) => [each.account, each.subject].filter(Boolean).join(" · ") || "the service"],
              ["Began", (each) => html`<${Time} at=${each.since} />`],
              ["Ended", (each) => html`<${Time} at=${each.ended_at} />`],
            ]} /><//>`
      : html`<${Waiting} />`
  }`;
}
