// What a person should know, and what is over; and one condition by itself.

import { html, useState } from "./vendor/preact-htm.js";
import { isReading, useResource } from "./live.js";
import { withQuery } from "./api.js";
import { AccountAction, Approve, ApproveSync, DiscardSync, Preview, Rebuild, Retry, UseFiles } from "./actions.js";
import { PartOfCondition, useRunbook } from "./runbook.js";
import { Badge, Code, Link, Moment, Name, Needs, Prose, Section, Since, Table, Terms, Time, Title, Trouble, Waiting } from "./ui.js";
import { count, duration, momentText, people, plural, SEVERITY } from "./words.js";

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

const viewOf = (each) => each.place.replace("#/", "");

const subjectOf = (each) => [each.account, each.subject].filter(Boolean).join(" · ") || "The service";

// A segment that waits for approval waits for one reason, which the heading says; how many people it has is news, as it is
// of a list of which nothing else is said.
const detailOf = (each) =>
  each.list_id !== null && each.people > 0 && (each.id === "list_awaits_approval" || !each.detail)
    ? people(each.people)
    : each.detail && html`<${Prose} text=${each.detail} />`;

// What is about one thing: that thing, and what to press.
function Subject({ each, accounts, primary, withCommand, withAdvice, name = subjectOf(each) }) {
  const place = placeOf(each);
  const account = accounts.find((found) => found.name === each.account);
  const isNamed = Boolean(each.account || each.subject);
  return html`<li class="subject">
    <${Link} to=${viewOf(each)}>${isNamed ? html`<strong><${Name} text=${each.id === "account_stopped" ? each.title : name} /></strong>` : "Details"}<//>
    ${withAdvice && html`<span class="wrap"><${Prose} text=${each.what_to_do} /></span>`}
    ${detailOf(each) && html`<span class="wrap">${detailOf(each)}</span>`}
    <span class="hint">${isNamed ? "began" : "Began"} <${Time} at=${each.since} /></span>
    ${withCommand && each.command && html`<span class="hint">In a terminal: <${Code} text=${each.command} /></span>`}
    <span class="buttons">
      ${account && ["account_paused", "account_stopped"].includes(each.id) && html`<${AccountAction} account=${account} primary=${primary} small=${true} />`}
      ${place && html`<${Link} to=${place[0]} aria-label=${`${place[1]}: ${subjectOf(each)}`}>${place[1]}<//>`}
    </span>
  </li>`;
}

// The first sentence is the heading.
const inTwo = (meaning) => /^(.*?\.)(?: (.*))?$/s.exec(meaning).slice(1);

const SHOWN = 3;
const SHOWN_OPEN = 20;

// Many of one kind and one account: a row with their number, which opens.
function Many({ account, items, number, accounts, withCommand }) {
  const [isOpen, setOpen] = useState(false);
  // Of those that are not listed, only their number is known.
  const concerned = number > items.length ? 0 : items.reduce((sum, each) => sum + each.people, 0);
  const first = items.map((each) => each.since).sort()[0];
  const more = items.length - SHOWN_OPEN;
  return html`<li><details onToggle=${(event) => setOpen(event.target.open)}>
    <summary class="subject"><strong><${Name} text=${account || "The service"} /></strong>
      <span>${items[0].list_id === null ? count(number) : plural(number, "list")}</span>${concerned > 0 && html`<span>${people(concerned)}</span>`}<span class="hint">the first began <${Time} at=${first} /></span></summary>
    ${isOpen && html`<ul class="subjects">${items.slice(0, SHOWN_OPEN).map(
      (each) => html`<${Subject} key=${each.place} each=${each} name=${each.subject} accounts=${accounts} withCommand=${withCommand} />`,
    )}${more > 0 && html`<li><${Link} to=${withQuery("conditions", { id: items[0].id, account })}>${`${count(more)} more`}<//></li>`}</ul>`}
  </details></li>`;
}

// What one kind is about, as rows: what is of one account is one row where it is much.
function rowsOf(group, numbers, isFlat) {
  const ofAccount = new Map();
  for (const each of group) ofAccount.set(each.account, [...(ofAccount.get(each.account) ?? []), each]);
  return [...ofAccount.entries()].flatMap(([account, items]) => {
    // Not all of them may be here.
    const number = numbers[account] ?? items.length;
    return isFlat || number <= SHOWN ? items : [{ account, items, number }];
  });
}

// One kind of condition with all that it is about: what it means and what to do is said once, as far as it is the same.
function Group({ group, numbers, accounts, most, primary, withCommand, isFlat }) {
  const [{ id, severity, meaning, what_to_do: whatToDo }] = group;
  const rows = rowsOf(group, numbers, isFlat);
  const number = Object.values(numbers).reduce((sum, each) => sum + each, 0);
  const more = rows.slice(most).reduce((sum, each) => sum + (each.number ?? 1), 0);
  const [first, rest] = inTwo(meaning);
  // Accounts may be stopped for several reasons.
  const isSame = group.every((each) => each.what_to_do === whatToDo);
  return html`<li class="condition" data-severity=${severity}>
    <div class="row-head"><h3>${first}</h3><${Badge} of=${SEVERITY[severity]} /></div>
    <p class="hint">${rest ? `${rest} ` : ""}${isSame && html`<${Prose} text=${whatToDo} />`}</p>
    <ul class="subjects">${rows.slice(0, most).map((each) =>
      each.items
        ? html`<${Many} key=${each.account} ...${each} accounts=${accounts} withCommand=${withCommand} />`
        : html`<${Subject} key=${each.place} each=${each} accounts=${accounts} primary=${primary} withCommand=${withCommand} withAdvice=${!isSame} />`,
    )}</ul>
    ${more > 0 && html`<p><${Link} to=${withQuery("conditions", { id })}>${`${count(more)} more`}<//></p>`}
    ${number > group.length && html`<p class="hint">${`${count(number)} in all; ${count(group.length)} of them are listed.`}</p>`}
  </li>`;
}

// The worst kinds first, as the service sorts them. Where the only trouble is an account that stands still, its button is the one to press.
export function ConditionGroups({ conditions, numbers, accounts, most = SHOWN, id = "attention-rows", withCommand = false, isFlat = false }) {
  const groups = new Map();
  for (const each of conditions) groups.set(each.id, [...(groups.get(each.id) ?? []), each]);
  return html`<ul class="plain" id=${id}>${[...groups.values()].map(
    (group, index) => html`<${Group} key=${group[0].id} group=${group} numbers=${numbers[group[0].id]} accounts=${accounts} most=${most}
      primary=${index === 0 && group.length === 1} withCommand=${withCommand} isFlat=${isFlat} />`,
  )}</ul>`;
}

// Of one account, where only that is shown.
const numbersOf = (numbers, account) =>
  account ? Object.fromEntries(Object.entries(numbers).map(([kind, found]) => [kind, { [account]: found[account] ?? 0 }])) : numbers;

export function Conditions({ query }) {
  const { data, error } = useResource("conditions");
  const known = useResource("accounts");
  const accounts = known.data?.items ?? [];
  const wanted = (each) => (!query.id || each.id === query.id) && (!query.account || each.account === query.account);
  return html`<${Title} text="What you should know" /><${Trouble} error=${error} />
    ${(query.id || query.account) && html`<p><${Link} to="conditions">All that you should know<//></p>`}${
    data && !isReading(known)
      ? html`<${Section} title="Now" id="now-heading"><${ConditionGroups} conditions=${data.items.filter(wanted)} numbers=${numbersOf(data.numbers_by_account, query.account)} accounts=${accounts} most=${data.items.length} withCommand=${true} isFlat=${Boolean(query.id)} />
            ${!data.items.some(wanted) && html`<p>Nothing needs a person now.</p>`}<//>
          <${Section} title="What is over" id="over-heading"><${Table} caption="Conditions that are over"
            keyOf=${(each) => `${each.place} ${each.since}`} rows=${data.history.filter(wanted)} empty="Nothing yet."
            columns=${[
              ["What", (each) => html`<${Link} to=${viewOf(each)}>${inTwo(each.meaning)[0]}<//>`, { wide: true }],
              ["On what", (each) => html`<${Name} text=${subjectOf(each)} />`],
              ["Began", (each) => html`<${Moment} at=${each.since} />`],
              ["Ended", (each) => html`<${Moment} at=${each.ended_at} />`],
            ]} /><//>`
      : html`<${Waiting} />`
  }`;
}

// What can be pressed for a condition; what it works on is read for it.
function Press({ each, account }) {
  const needsList = each.list_id !== null && ["list_awaits_approval", "list_differs", "list_held"].includes(each.id);
  const list = useResource(needsList ? `lists/${each.list_id}` : null).data;
  const held = useResource(each.id === "removals_held" ? `syncs?list=${each.list_id}&state=held&sort=trouble` : null).data?.items ?? [];
  if (account && each.id.startsWith("account_")) return html`<${AccountAction} account=${account} primary=${true} />`;
  if (account && each.id === "imports_rest") return html`<${UseFiles} account=${account} primary=${true} />`;
  if (list?.awaits_approval) return html`<${Approve} list=${list} primary=${true} /><${Preview} list=${list} />`;
  if (list && (each.id === "list_differs" || list.held_for === "deleted")) return html`<${Rebuild} list=${list} primary=${true} />`;
  if (each.id === "people_failed") return html`<${Retry} selection=${{ list: each.list_id, dead: true }} listName=${each.subject} number=${each.people} primary=${true} />`;
  return held.map((sync) => html`<${ApproveSync} sync=${sync} primary=${true} /><${DiscardSync} sync=${sync} />`);
}

const seconds = (each) => (new Date(each.ended_at) - new Date(each.since)) / 1000;

function Lasting({ each, account }) {
  const place = placeOf(each);
  return html`<${Section} title="What to do" id="do-heading">
    <p class="wrap"><${Prose} text=${each.what_to_do} /></p>
    ${each.command && html`<p>In a terminal: <${Code} text=${each.command} /></p>`}
    <p class="buttons"><${Press} each=${each} account=${account} />${place && html`<${Link} to=${place[0]}>${place[1]}<//>`}</p>
    <${Needs} what="To do it here" />
  <//>`;
}

// One condition, whether it lasts or is over.
export function Condition({ id, query }) {
  const about = query.list ? { account: query.account ?? "", list: query.list } : { account: query.account ?? "", subject: query.subject ?? "" };
  const { data, error } = useResource(withQuery("conditions", { id, ...about }));
  const known = useResource("accounts");
  // What to do is there at once, or it is not read.
  const runbook = useRunbook();
  const accounts = known.data?.items ?? [];
  if (!data || isReading(known) || !(runbook.parts || runbook.error)) return html`<${Title} text="Condition" />${error ? html`<${Trouble} error=${error} />` : html`<${Waiting} />`}`;
  const isIt = (each) => each.account === about.account && (about.list ? String(each.list_id) === about.list : each.subject === about.subject);
  const now = data.items.find(isIt);
  const past = data.history.filter(isIt);
  const each = now ?? past[0];
  if (!each) {
    return html`<${Title} text="Nothing of this kind lasts" /><p>The service knows of no such condition, now or before. <${Link} to="conditions">What you should know<//></p>`;
  }
  return html`
    <${Title} text=${each.title} badge=${now ? SEVERITY[each.severity] : ["Over", "good"]} />
    <${Trouble} error=${error} />
    <section class="card">
      <p>${each.meaning}</p>
      ${each.detail && each.detail !== people(each.people) && html`<p class="wrap"><${Prose} text=${each.detail} /></p>`}
      <${Terms} items=${[
        ["About", each.list_id === null ? subjectOf(each) : html`<${Link} to=${`lists/${each.list_id}`}>${subjectOf(each)}<//>`],
        [each.id.startsWith("account_") ? "Changes that wait" : "People concerned", each.people ? count(each.people) : null],
        [now ? "Since" : "Lasted", now ? html`<${Since} at=${each.since} />` : `${momentText(each.since)} to ${momentText(each.ended_at)}`],
      ]} />
    </section>
    ${now && html`<${Lasting} each=${now} account=${accounts.find((found) => found.name === now.account)} />`}
    ${past.length > 0 && html`<${Section} title="Before" id="past-heading"><${Table} caption="When it was so before" rows=${past} keyOf=${(row) => row.since}
      columns=${[
        ["Began", (row) => html`<${Moment} at=${row.since} />`],
        ["Ended", (row) => html`<${Moment} at=${row.ended_at} />`],
        ["Lasted", (row) => duration(seconds(row))],
        ["Detail", (row) => html`<span class="wrap">${row.detail || "–"}</span>`, { wide: true }],
      ]} /><//>`}
    <${PartOfCondition} id=${each.id} runbook=${runbook} />
    <p><${Link} to="conditions">What else you should know<//></p>`;
}
