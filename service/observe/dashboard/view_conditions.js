// What a person should know, and what is over.

import { html } from "./vendor/preact-htm.js";
import { useResource } from "./live.js";
import { withQuery } from "./api.js";
import { AccountAction } from "./actions.js";
import { Badge, Link, Name, Prose, Section, Table, Time, Trouble, Waiting } from "./ui.js";
import { count, people, SEVERITY } from "./words.js";

const encode = encodeURIComponent;

// Where the thing is that a condition is about.
function placeOf(each) {
  if (each.id === "people_failed") return [withQuery("people", { list: each.list_id }), "See who"];
  if (each.id === "removals_held") return [`syncs?list=${each.list_id}&state=held`, "See the sync"];
  if (each.id === "users_unusable") return [withQuery("unusable", { list: each.list_id }), "See which"];
  if (each.list_id !== null) return [`lists/${each.list_id}`, "Open the list"];
  if (each.id.startsWith("import")) return [`imports?account=${encode(each.account)}`, "Open the imports"];
  return each.account ? [`accounts/${encode(each.account)}`, `Open ${each.account}`] : null;
}

const subjectOf = (each) => [each.account, each.subject].filter(Boolean).join(" · ") || "The service";

// A segment that waits for approval waits for one reason, which the heading says; how many people it has is news.
const detailOf = (each) => (each.id === "list_awaits_approval" ? people(each.people) : each.detail);

// What is about one thing: that thing, and what to press.
function Subject({ each, accounts, primary, withCommand }) {
  const place = placeOf(each);
  const account = accounts.find((found) => found.name === each.account);
  const isNamed = Boolean(each.account || each.subject);
  return html`<li class="subject">
    ${isNamed && html`<strong><${Name} text=${subjectOf(each)} /></strong>`}
    ${each.id === "account_stopped" && account?.hint && html`<span class="wrap"><${Prose} text=${account.hint} /></span>`}
    ${detailOf(each) && html`<span class="wrap"><${Prose} text=${detailOf(each)} /></span>`}
    <span class="hint">${isNamed ? "began" : "Began"} <${Time} at=${each.since} /></span>
    ${withCommand && each.command && html`<span class="hint">In a terminal: <code class="code">${each.command}</code></span>`}
    <span class="buttons">
      ${account && ["account_paused", "account_stopped"].includes(each.id) && html`<${AccountAction} account=${account} primary=${primary} small=${true} />`}
      ${place && html`<${Link} to=${place[0]} aria-label=${`${place[1]}: ${subjectOf(each)}`}>${place[1]}<//>`}
    </span>
  </li>`;
}

// One kind of condition with all that it is about: what it means and what to do is said once.
function Group({ group, accounts, most, primary, withCommand }) {
  const [{ id, severity, meaning, what_to_do: whatToDo }] = group;
  const more = group.length - most;
  const [, first, rest] = /^(.*?\.)(?: (.*))?$/s.exec(meaning);
  return html`<li class="condition" data-severity=${severity}>
    <div class="row-head"><h3>${first}</h3><${Badge} of=${SEVERITY[severity]} /></div>
    <p class="hint">${rest ? `${rest} ` : ""}<${Prose} text=${whatToDo} /></p>
    <ul class="subjects">${group
      .slice(0, most)
      .map((each) => html`<${Subject} key=${`${each.account} ${each.subject}`} each=${each} accounts=${accounts}
        primary=${primary} withCommand=${withCommand} />`)}</ul>
    ${more > 0 && html`<p><${Link} to=${withQuery("conditions", { id })}>${`${count(more)} more`}<//></p>`}
  </li>`;
}

const SHOWN = 3;

// The worst kinds first, as the service sorts them. Where the only trouble is an account that stands still, its button is the one to press.
export function ConditionGroups({ conditions, accounts, most = SHOWN, id = "attention-rows", withCommand = false }) {
  const groups = new Map();
  for (const each of conditions) groups.set(each.id, [...(groups.get(each.id) ?? []), each]);
  return html`<ul class="plain" id=${id}>${[...groups.values()].map(
    (group, index) => html`<${Group} key=${group[0].id} group=${group} accounts=${accounts} most=${most}
      primary=${index === 0 && group.length === 1} withCommand=${withCommand} />`,
  )}</ul>`;
}

export function Conditions({ query }) {
  const { data, error } = useResource("conditions");
  const accounts = useResource("accounts").data?.items ?? [];
  const wanted = (each) => !query.id || each.id === query.id;
  return html`<h1 tabindex="-1">What you should know</h1><${Trouble} error=${error} />${
    data
      ? html`<${Section} title="Now" id="now-heading"><${ConditionGroups} conditions=${data.items.filter(wanted)} accounts=${accounts} most=${data.items.length} withCommand=${true} />
            ${!data.items.some(wanted) && html`<p>Nothing needs a person now.</p>`}<//>
          <${Section} title="What is over" id="over-heading"><${Table} caption="Conditions that are over"
            keyOf=${(each) => `${each.id} ${each.account} ${each.subject} ${each.since}`} rows=${data.history.filter(wanted)} empty="Nothing yet."
            columns=${[
              ["What", (each) => each.meaning, { wide: true }],
              ["On what", (each) => html`<${Name} text=${subjectOf(each)} />`],
              ["Began", (each) => html`<${Time} at=${each.since} />`],
              ["Ended", (each) => html`<${Time} at=${each.ended_at} />`],
            ]} /><//>`
      : html`<${Waiting} />`
  }`;
}
