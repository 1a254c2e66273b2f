// What people did, and what Heap posted.

import { html } from "./vendor/preact-htm.js";
import { useResource } from "./live.js";
import { Link, Name, Section, Table, Time, Title, Trouble, Waiting } from "./ui.js";
import { actionName, count, keyName } from "./words.js";

const target = (each) => {
  const view = { list: "lists", sync: "syncs", account: "accounts", import: "imports" }[each.action.split(".")[0]];
  const isPlace = view === "accounts" ? each.target : /^\d+$/.test(each.target);
  return view && isPlace ? html`<${Link} to=${`${view}/${encodeURIComponent(each.target)}`}><${Name} text=${each.target} /><//>` : html`<${Name} text=${each.target} />`;
};

export function Activity() {
  const audit = useResource("audit?limit=100");
  const deliveries = useResource("deliveries?limit=50");
  return html`<${Title} text="Activity" /><${Trouble} error=${audit.error ?? deliveries.error} />
    <${Section} title="What people did" id="audit-heading" actions=${html`<a href="api/v1/audit?format=csv" download>Download as CSV</a>`}>
      ${audit.data
        ? html`<${Table} caption="What people did" rows=${audit.data.items} keyOf=${(each) => each.id} empty="Nobody has done anything yet."
            columns=${[
              ["When", (each) => html`<${Time} at=${each.at} />`],
              ["What", (each) => actionName(each.action)],
              ["On what", (each) => target(each)],
              ["By", (each) => html`<${Name} text=${keyName(each.actor)} title=${each.actor} />`],
              ["Changes", (each) => count(each.changes), { number: true }],
            ]} />`
        : html`<${Waiting} />`}
    <//>
    <${Section} title="Pages from Heap" id="deliveries-heading">
      ${deliveries.data
        ? html`<${Table} caption="Pages from Heap" rows=${deliveries.data.items} keyOf=${(each) => each.id} empty="None has come yet."
            columns=${[
              ["Arrived", (each) => html`<${Time} at=${each.received_at} />`],
              ["Segment", (each) => html`<${Link} to=${`syncs/${each.sync_id}`}><${Name} text=${each.segment_name} /><//><div class="hint"><${Name} text=${each.account} /></div>`, { wide: true }],
              ["Page", (each) => count(each.page_number), { number: true }],
              ["To add", (each) => count(each.added), { number: true }],
              ["To remove", (each) => count(each.removed), { number: true }],
              ["Unusable", (each) => count(each.rejected), { number: true }],
            ]} />`
        : html`<${Waiting} />`}
    <//>`;
}
