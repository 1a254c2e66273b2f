// One look: a line that says how everything is, what a person should know, then figures, accounts and what is under way.

import { html } from "./vendor/preact-htm.js";
import { useResource } from "./live.js";
import { AccountAction } from "./actions.js";
import { ConditionGroups } from "./view_conditions.js";
import { ImportTable } from "./view_imports.js";
import { Plot } from "./plot.js";
import { SyncTable } from "./view_syncs.js";
import { Address, Badge, Figure, Figures, Link, Name, Section, Table, Title, Trouble, Waiting, Words } from "./ui.js";
import { accountState, clockOfDay, count, inChanges, inTimeOfPage, rate, setAside, troubleFirst, whenSent } from "./words.js";

const MANY_ACCOUNTS = 8;

const accountColumns = [
  ["Account", (each) => html`<${Link} to=${`accounts/${encodeURIComponent(each.name)}`}><strong><${Name} text=${each.name} /></strong><//>`, { wide: true }],
  ["State", (each) => html`<${Badge} of=${accountState(each)} /> <${AccountAction} account=${each} small=${true} />`, { badge: true }],
  ["Lists", (each) => count(each.lists), { number: true }],
  ["To send", (each) => html`${count(each.to_send)}${each.set_aside > 0 && html`<div class="hint">${setAside(each.set_aside)}</div>`}`, { number: true, isIdle: (each) => !each.to_send && !each.set_aside }],
  ["Confirmed a second", (each) => rate(each.settled_per_second), { number: true, isIdle: (each) => !each.settled_per_second }],
  ["Failed people", (each) => count(each.failed_people), { number: true, isIdle: (each) => !each.failed_people }],
];

const AccountTable = ({ accounts }) => html`<${Table} caption="Accounts" id="account-rows" rows=${accounts} keyOf=${(each) => each.name}
  columns=${accountColumns} empty="The configuration has no account." />`;

// How serious it is: something is critical, something needs a person, nothing happens, all is well.
function toneOf(data) {
  if (data.conditions.some((each) => each.severity === "critical")) return "bad";
  if (!data.is_well) return "warn";
  const isStill = data.to_send > 0 && !data.settled_per_second;
  const isWaiting = isStill || data.lists.differs + data.lists.incomplete > 0 || !data.syncs.length || data.accounts.every((each) => ["dry_run", "not_configured"].includes(each.standing));
  return isWaiting ? "busy" : "good";
}

// Broken between the troubles, where there is no room for all on one line.
const troublesOf = (data) =>
  inTimeOfPage(data.headline, clockOfDay)
    .split(" · ")
    .map((text, index, { length }) => html`<span class="word">${text}${index < length - 1 && " ·"}</span> `);

const TONE_MARKS = { bad: "✕", warn: "!", busy: "•", good: "✓" };

// Where the first page comes from: the address that Heap needs, for each account.
function Empty({ service }) {
  return html`<section class="card" aria-labelledby="empty-heading" id="empty">
    <h2 id="empty-heading">No page has come from Heap yet</h2>
    <p>In Heap, open Integrations, Developer hub. Set ${service.webhooks.length > 1 ? "the account's" : "this"} address as the webhook URL, switch a segment on, and press “Sync now”.</p>
    ${service.webhooks.map(
      ({ account, url, is_known: isKnown }) => html`<p class="hint">${account}</p><pre><code class="webhook-address"><${Address} url=${url} /></code></pre>
        ${!isKnown && html`<p class="hint">This address is as your browser sees the service. Heap needs one that it can reach over HTTPS.</p>`}`,
    )}
    <p>To try without Heap, send a segment from a terminal:</p>
    <pre><code id="send-command"><${Words} text=${`heap-cordial send --url ${service.webhooks[0]?.url ?? "ADDRESS"} --secret-file SECRET --segment "Active Users" --add jane@example.com`} /></code></pre>
  </section>`;
}

export function Overview({ service, isLost }) {
  const { data, error } = useResource("overview");
  if (!data) return html`<${Title} text="Overview" />${error ? html`<${Trouble} error=${error} />` : html`<${Waiting} />`}`;
  const lists = Object.values(data.lists).reduce((sum, number) => sum + number, 0);
  const accounts = troubleFirst(data.accounts).slice(0, MANY_ACCOUNTS);
  const needed = data.conditions.filter((each) => each.severity !== "info");
  const other = data.conditions.filter((each) => each.severity === "info");
  const all = html`<${Link} to="conditions">All, and what is over<//>`;
  // What was so says nothing of now.
  const isOld = isLost || error;
  const tone = isOld ? "busy" : toneOf(data);
  const isEmpty = !data.syncs.length;
  return html`
    <${Title} text="Overview" unseen=${true} />
    <p class="headline" id="headline" role="status" data-tone=${tone}>
      <span aria-hidden="true">${isOld ? "?" : TONE_MARKS[tone]}</span> <span>${isOld ? `At ${clockOfDay(new Date(data.at))}: ` : ""}${troublesOf(data)}</span>
    </p>
    <${Trouble} error=${error} />
    ${isEmpty && html`<${Empty} service=${service} />`}
    ${needed.length > 0 &&
    html`<${Section} title="What you should know" id="attention" actions=${all}>
      <${ConditionGroups} conditions=${needed} numbers=${data.numbers_by_account} accounts=${data.accounts} />
    <//>`}
    ${!isEmpty &&
    html`<${Figures} label="Now">
      <${Figure} name="Changes to send" value=${count(data.to_send)} hint=${
        [data.to_send && whenSent(data.accounts, data.seconds_left, data.to_send), data.guarded && setAside(data.guarded)].filter(Boolean).join(", ") || "nothing waits"
      } />
      <${Figure} name="Confirmed a second" value=${rate(data.settled_per_second)} hint=${`${rate(data.calls_per_second)} calls a second`} />
      <${Figure} name="Refused or failed a second" value=${rate(data.failed_per_second)} tone=${data.failed_per_second > 0 ? "bad" : undefined} hint="in the last seconds" />
      <${Figure} name="Lists exact" value=${lists ? count(data.lists.exact) : "–"} hint=${`of ${count(lists)}, by Cordial's count`} to="lists" />
      <${Figure} name="Failed people" value=${count(data.failed_people)} tone=${data.failed ? "bad" : undefined} hint=${inChanges(data)} to="people" />
    <//>`}
    <${Section} title="Accounts" id="accounts-heading" actions=${data.accounts.length > MANY_ACCOUNTS && html`<${Link} to="accounts">All ${data.accounts.length}<//>`}>
      <${AccountTable} accounts=${accounts} />
    <//>
    ${!isEmpty && html`<${Plot} />`}
    ${data.imports.length > 0 &&
    html`<${Section} title="Files on their way" id="imports-heading" actions=${html`<${Link} to="imports">All<//>`}>
      <${ImportTable} imports=${data.imports} />
    <//>`}
    ${data.syncs.length > 0 &&
    html`<${Section} title="Latest syncs" id="syncs-heading" actions=${html`<${Link} to="syncs">All<//>`}>
      <${SyncTable} syncs=${data.syncs} accounts=${data.accounts} />
    <//>`}
    ${other.length > 0 &&
    html`<${Section} title="For information" id="information" actions=${all}>
      <${ConditionGroups} conditions=${other} numbers=${data.numbers_by_account} accounts=${data.accounts} id="information-rows" />
    <//>`}`;
}

export function Accounts() {
  const { data, error } = useResource("accounts");
  return html`<${Title} text="Accounts" /><${Trouble} error=${error} />${
    data
      ? html`<section class="card"><${AccountTable} accounts=${troubleFirst(data.items)} /></section>`
      : html`<${Waiting} />`
  }`;
}
