// One account: what its sending is doing, why, and what to press.

import { html } from "./vendor/preact-htm.js";
import { AccountAction, Pause, UseFiles } from "./actions.js";
import { useResource } from "./live.js";
import { Trial } from "./view_trial.js";
import { Address, Figure, Figures, Link, Prose, Rates, Section, Since, Terms, Title, Trouble, Waiting } from "./ui.js";
import { accountState, count, inChanges, momentText, plural, rate, sentence, whenSent } from "./words.js";

// Why nothing is sent although the account may send.
function Waits({ account }) {
  const held = account.pending - account.sendable;
  const parts = [
    held && `${plural(held, "change")} ${held === 1 ? "is" : "are"} for lists that are not ready`,
    account.waiting && `${plural(account.waiting, "change")} ${account.waiting === 1 ? "is" : "are"} tried again later`,
  ].filter(Boolean);
  if (account.standing !== "waiting" || !parts.length) return null;
  return html`<section class="card notice"><p>${sentence(`nothing can be sent now: ${parts.join(", and ")}`)}</p>
    <p><${Link} to=${`lists?account=${encodeURIComponent(account.name)}`}>See the lists, trouble first<//></p></section>`;
}

export function Account({ name, service }) {
  const { data, error } = useResource("accounts");
  const account = data?.items.find((each) => each.name === name);
  if (!account) {
    return html`<${Title} text=${name} />${data ? html`<p>There is no such account.</p>` : html`<${Trouble} error=${error} /><${Waiting} />`}`;
  }
  const encoded = encodeURIComponent(name);
  const webhook = service.webhooks.find((each) => each.account === name);
  const steerable = !["not_configured", "paused_by_operator"].includes(account.state);
  return html`
    <${Title} text=${name} badge=${accountState(account)}><${AccountAction} account=${account} primary=${true} />${steerable && html`<${Pause} account=${account} />`}<//>
    <${Trouble} error=${error} />
    ${(account.kept_back || account.state === "slowed") &&
    html`<section class="card notice"><p class="wrap"><${Prose} text=${account.kept_back || `${account.reason}: some calls wait until ${momentText(account.next_call_at)}`} /></p>
      ${account.standing === "stopped" && account.hint && html`<p><${Prose} text=${account.hint} /></p>`}</section>`}
    <${Waits} account=${account} />
    <${Figures} label=${name}>
      <${Figure} name="Changes to send" value=${count(account.to_send)} hint=${account.to_send > 0 && whenSent([account], account.seconds_left, account.to_send)} />
      ${account.held > 0 && html`<${Figure} name="Held" value=${count(account.held)} hint="users in syncs that are held or queued" to=${`syncs?account=${encoded}`} />`}
      <${Figure} name="Calls a second" value=${rate(account.calls_per_second)} hint="in the last seconds" />
      <${Figure} name="Lists" value=${count(account.lists)} to=${`lists?account=${encoded}`} />
      <${Figure} name="Failed people" hint=${inChanges(account)} value=${count(account.failed_people)} tone=${account.failed ? "bad" : undefined} to=${`people?account=${encoded}`} />
    <//>
    <${Section} title="Details" id="details-heading">
      <${Terms} items=${[
        ["Results", html`<${Rates} settled=${account.settled_per_second} failed=${account.failed_per_second} />`],
        ["In this state since", account.since && html`<${Since} at=${account.since} />`],
        ["Webhook for Heap", webhook && html`<code class="code wrap"><${Address} url=${webhook.url} /></code>`],
        ...Object.entries(account.found_rates).map(([operation, found]) => [`At most, ${operation}`, `${rate(found)} a second`]),
        ["In syncs that are not complete", account.set_aside > account.held ? plural(account.set_aside - account.held, "user") : null],
        ["Contacts in doubt", account.in_doubt || null],
        ["Read back", account.read_back > 0 ? account.proof : null],
        ["Files", account.waits_for_trial ? "set up, and not used before a trial" : account.imports_rest && `not used now: ${account.imports_rest.reason}`],
        ["Files again", account.imports_rest?.until && momentText(account.imports_rest.until)],
      ]} />
      <p class="buttons"><${Link} to=${`syncs?account=${encoded}`}>Its syncs<//><${Link} to=${`imports?account=${encoded}`}>Its imports<//>${account.imports_rest?.until && ["sending", "slowed"].includes(account.state) && html`<${UseFiles} account=${account} />`}</p>
    <//>
    ${account.state !== "not_configured" && html`<${Trial} account=${account} />`}`;
}
