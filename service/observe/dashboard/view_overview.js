// One look: a line that says how everything is, what a person should know, then figures, accounts and what is under way.

import { html } from "./vendor/preact-htm.js";
import { useResource } from "./live.js";
import { AccountAction } from "./actions.js";
import { ConditionRow } from "./view_conditions.js";
import { ImportRow } from "./view_imports.js";
import { Plot } from "./plot.js";
import { SyncRow } from "./view_syncs.js";
import { Badge, Figure, Figures, Link, Rates, Section, Trouble, Waiting } from "./ui.js";
import { ACCOUNT_STATE, count, duration, plural, rate } from "./words.js";

const MANY_ACCOUNTS = 8;

const AccountRow = ({ account }) => html`<li class="row">
  <div class="row-head">
    <${Link} to=${`accounts/${encodeURIComponent(account.name)}`}><strong>${account.name}</strong><//>
    <${Badge} of=${ACCOUNT_STATE[account.state]} />
  </div>
  <p class="hint">${plural(account.lists, "list")} · ${
    account.pending + account.waiting ? `${plural(account.pending + account.waiting, "change")} to send` : "nothing to send"
  } · <${Rates} settled=${account.settled_per_second} failed=${account.failed_per_second} /></p>
  <${AccountAction} account=${account} />
</li>`;

// Where the first page comes from: the address that Heap needs, for each account.
function Empty({ service }) {
  return html`<section class="card" aria-labelledby="empty-heading" id="empty">
    <h2 id="empty-heading">No page has come from Heap yet</h2>
    <p>In Heap, open Integrations, Developer hub. Set this address as the webhook URL, switch a segment on, and press “Sync now”.</p>
    ${service.webhooks.map(
      ({ account, url }) => html`<p class="hint">${account}</p><pre><code class="webhook-address">${url}</code></pre>`,
    )}
    <p>To try without Heap, send a segment from a terminal:</p>
    <pre><code id="send-command">${`heap-cordial send --url ${service.webhooks[0]?.url ?? "ADDRESS"} --secret-file SECRET --segment "Active Users" --add jane@example.com`}</code></pre>
    ${!service.webhooks.every((each) => each.is_known) && html`<p class="hint">These addresses are as your browser sees the service. Heap needs one that it can reach over HTTPS.</p>`}
  </section>`;
}

export function Overview({ service }) {
  const { data, error } = useResource("overview");
  const conditions = useResource("conditions");
  if (!data) return html`<h1 tabindex="-1">Overview</h1>${error ? html`<${Trouble} error=${error} />` : html`<${Waiting} />`}`;
  const lists = Object.values(data.lists).reduce((sum, number) => sum + number, 0);
  const accounts = data.accounts.slice(0, MANY_ACCOUNTS);
  const items = conditions.data?.items ?? [];
  return html`
    <h1 tabindex="-1" class="unseen">Overview</h1>
    <p class="headline" id="headline" role="status" data-tone=${data.is_well ? "good" : "bad"}>
      <span aria-hidden="true">${data.is_well ? "✓" : "!"}</span> ${data.headline}
    </p>
    ${items.length > 0 &&
    html`<${Section} title="What you should know" id="attention" hint=${items.length > 10 ? `The worst 10 of ${items.length}.` : null}
      actions=${html`<${Link} to="conditions">All, and what is over<//>`}>
      <ul class="plain" id="attention-rows">${items
        .slice(0, 10)
        .map((each) => html`<${ConditionRow} key=${`${each.id} ${each.account} ${each.subject}`} each=${each} accounts=${data.accounts} />`)}</ul>
    <//>`}
    <${Figures} label="Now">
      <${Figure} name="Changes to send" value=${count(data.to_send)} hint=${
        data.guarded
          ? `${count(data.guarded)} in syncs that are held or incomplete`
          : data.to_send ? (data.seconds_left === null ? "no time can be told" : `about ${duration(data.seconds_left)} left`) : "nothing waits"
      } />
      <${Figure} name="Confirmed a second" value=${rate(data.settled_per_second)} hint=${`${rate(data.calls_per_second)} calls a second`} />
      <${Figure} name="Refused or failed a second" value=${rate(data.failed_per_second)} tone=${data.failed_per_second > 0 ? "bad" : undefined} />
      <${Figure} name="Lists exact" value=${lists ? `${count(data.lists.exact)} of ${count(lists)}` : "–"} to="lists" />
      <${Figure} name="Could not be added or removed" value=${count(data.failed)} tone=${data.failed ? "bad" : undefined} to="people" />
    <//>
    ${data.syncs.length === 0 && html`<${Empty} service=${service} />`}
    <div class="columns">
      <${Section} title="Accounts" id="accounts-heading" actions=${data.accounts.length > MANY_ACCOUNTS && html`<${Link} to="accounts">All ${data.accounts.length}<//>`}>
        <ul class="plain" id="account-rows">${accounts.map((each) => html`<${AccountRow} key=${each.name} account=${each} />`)}</ul>
      <//>
      <${Plot} />
    </div>
    ${data.imports.length > 0 &&
    html`<${Section} title="Files on their way" id="imports-heading" actions=${html`<${Link} to="imports">All<//>`}>
      <ul class="plain" id="import-rows">${data.imports.map((each) => html`<${ImportRow} key=${each.id} each=${each} />`)}</ul>
    <//>`}
    ${data.syncs.length > 0 &&
    html`<${Section} title="Latest syncs" id="syncs-heading" actions=${html`<${Link} to="syncs">All<//>`}>
      <ul class="plain" id="sync-rows">${data.syncs.map(
        (each) => html`<${SyncRow} key=${each.id} sync=${each} account=${data.accounts.find((found) => found.name === each.account)} />`,
      )}</ul>
    <//>`}`;
}

export function Accounts() {
  const { data, error } = useResource("accounts");
  return html`<h1 tabindex="-1">Accounts</h1><${Trouble} error=${error} />${
    data
      ? html`<section class="card"><ul class="plain" id="account-rows">${data.items.map(
          (each) => html`<${AccountRow} key=${each.name} account=${each} />`,
        )}</ul></section>`
      : html`<${Waiting} />`
  }`;
}
