// A trial of an account: what Cordial's documents leave open is tried with test contacts, and what it showed stays here.

import { html, useState } from "./vendor/preact-htm.js";
import { post } from "./api.js";
import { useResource } from "./live.js";
import { Badge, confirm, may, Needs, Prose, Section, Table, Time, Trouble, Waiting } from "./ui.js";
import { sentence } from "./words.js";

const OUTCOME = { as_documented: ["As documented", "good"], otherwise: ["Otherwise", "warn"], not_tried: ["Not tried", "busy"] };

// What Cordial does otherwise is no trouble where nothing is wrong then.
const outcomeOf = (each) => (each.outcome === "otherwise" && each.is_harmless ? ["Otherwise", "busy"] : OUTCOME[each.outcome]);

const pointName = (point) => sentence(point.replaceAll("_", " ")).slice(0, -1);

const addresses = (text) => text.toLowerCase().split(/[\s,;]+/).filter(Boolean);

const Plan = ({ contacts, subscribed }) => html`
  <p>This writes to the account in Cordial, now, with <strong class="wrap">${[...contacts, ...subscribed].join(", ")}</strong>, and nobody else:</p>
  <ul class="steps">
    <li>Up to three lists are created. Their names begin with heap-cordial-trial or heap_cordial_trial. One is renamed.</li>
    <li>These contacts are put on those lists, and taken off at the end.</li>
    <li>Up to five contacts are created in the mailbox of ${contacts[0]}, unless <code class="code">create_contacts = false</code>.</li>
    <li>Cordial fetches two files with these contacts, where <code class="code">public_url</code> is set.</li>
  </ul>
  <p>Nobody is subscribed on purpose: that is what the trial watches for. It deletes nothing; afterwards you see which lists and contacts it leaves.</p>`;

function Form({ account, hasResults }) {
  const path = `accounts/${encodeURIComponent(account.name)}/trial`;
  const [text, setText] = useState("");
  const [given, setGiven] = useState("");
  const begin = (event) => {
    event.preventDefault();
    const [contacts, subscribed] = [addresses(text), addresses(given)];
    confirm({
      title: `Try ${account.name}?`,
      button: `Try ${account.name}`,
      body: () => html`<${Plan} contacts=${contacts} subscribed=${subscribed} />`,
      work: () => post(path, { contacts, subscribed: subscribed[0] ?? null }),
      words: "The trial has begun. It takes a minute or two.",
    });
  };
  return html`<form class="lookup" onSubmit=${begin}>
    <label class="field"><span>Test contacts: one to five addresses in mailboxes of yours, which Heap does not send</span>
      <input id="trial-contacts" required autocomplete="off" spellcheck=${false} placeholder="you+a@example.com"
        value=${text} onInput=${(event) => setText(event.target.value)} /></label>
    <label class="field"><span>One that is subscribed in Cordial (if you have one)</span>
      <input id="trial-subscribed" type="email" autocomplete="off" spellcheck=${false} placeholder="you@example.com"
        value=${given} onInput=${(event) => setGiven(event.target.value)} /></label>
    <button type="submit" class=${account.waits_for_trial ? "primary" : ""}>${hasResults ? "Try again…" : "Try…"}</button>
  </form>`;
}

const seen = (each) => html`<span class="wrap">${sentence(each.detail)}</span>${
  each.outcome === "otherwise" &&
  html`<p class="hint">Expected: ${each.documented}</p><p class="hint"><strong>What to do:</strong> <${Prose} text=${each.what_to_do} /></p>`
}`;

function Results({ results }) {
  // What is otherwise is what a person looks for.
  const order = ["otherwise", "not_tried", "as_documented"];
  const rows = [...results].sort((one, other) => order.indexOf(one.outcome) - order.indexOf(other.outcome));
  return html`<${Table} caption="What trials have shown" id="trial-rows" rows=${rows} keyOf=${(each) => each.point}
    columns=${[
      ["Point", (each) => html`<strong>${pointName(each.point)}</strong>`, { badge: true }],
      ["Cordial does", (each) => html`<${Badge} of=${outcomeOf(each)} />`, { badge: true }],
      ["Seen", seen, { wide: true }],
    ]} /><p class="hint">Last tried <${Time} at=${results.map((each) => each.at).sort().at(-1)} />.</p>`;
}

const Left = ({ trial }) => html`${trial.problem && html`<p class="trouble">${sentence(trial.problem)}</p>`}
  ${trial.state !== "running" &&
  trial.lists_left.length + trial.contacts_left.length > 0 &&
  html`<p>The trial left these in Cordial. Delete them there if you like; the service deletes nothing.</p>
    <ul class="steps">${[...trial.lists_left.map((name) => `List ${name}`), ...trial.contacts_left.map((name) => `Contact ${name}`)].map(
      (text) => html`<li class="wrap" key=${text}>${text}</li>`,
    )}</ul>`}`;

export function Trial({ account }) {
  const { data, error } = useResource(`accounts/${encodeURIComponent(account.name)}/trial`);
  const isRunning = data?.trial?.state === "running";
  const maySend = ["sending", "slowed"].includes(account.state) && account.standing !== "store_trouble";
  const hint = account.waits_for_trial
    ? "Files are set up, and not used before a trial has shown that they subscribe nobody."
    : "Finds out on the real account what Cordial does not document.";
  return html`<${Section} title="Trial" id="trial-heading" hint=${hint}>
    <${Trouble} error=${error} />
    ${!data && !error && html`<${Waiting} />`}
    <div role="status" id="trial-state">${
      isRunning && html`<p>Trying ${data.trial.trying ? pointName(data.trial.trying).toLowerCase() : "lists"} …</p>`
    }</div>
    ${data?.results.length > 0 && html`<${Results} results=${data.results} />`}
    ${data?.trial && html`<${Left} trial=${data.trial} />`}
    ${data && !data.results.length && !data.trial && html`<p class="hint">None has been made yet.</p>`}
    <${Needs} what="A trial" />
    ${data && !isRunning && may("operate") && (maySend
      ? html`<${Form} account=${account} hasResults=${data.results.length > 0} />`
      : html`<p class="hint">A trial can be made while the account may send.</p>`)}
  <//>`;
}
