// One list: where everybody is that Heap named, and who is missing.

import { html, useState } from "./vendor/preact-htm.js";
import { ask } from "./api.js";
import { AccountAction, Approve, ApproveSync, DiscardSync, inDoubt, Preview, Rebuild, Retry, Verify } from "./actions.js";
import { isReading, useResource } from "./live.js";
import { SyncTable } from "./view_syncs.js";
import { Counted, listName, needsReason, saysWhy } from "./view_lists.js";
import { Badge, Code, Link, Name, Needs, NotYet, Prose, Section, Terms, Time, Title, Trouble, Waiting } from "./ui.js";
import { accountState, count, failureState, isKeptBack, latestOf, listState, MEMBER_STATE, momentText, people, person, plural, sentence, within } from "./words.js";

// Heap named N = on the list + to be sent + tried again later + could not be added + refused in a file + other spellings +
// unusable ids (+ whoever is in pages that have not arrived). Each is a link to the people, as far as they have names.
function Sum({ list, sum, account, syncs, doubtful }) {
  const named = sum.wanted + sum.same_person + sum.unusable;
  const file = (more) => `api/v1/lists/${list.id}/members?format=csv&${more}`;
  // How, or why not yet.
  const moves = ["held", "to_approve", "not_created", "sending", "tried_again_later"].includes(list.standing);
  const state = moves ? listState(list, account) : account && isKeptBack(account) ? accountState(account) : null;
  const toSend = sum.to_add - sum.add_later;
  const how = toSend && state ? ` (${within(state)})` : "";
  const rows = [
    { text: "on the list, confirmed by Cordial", number: sum.on_list, to: file("wanted=true&state=settled"), isAlways: true },
    { text: `to be sent${how}`, number: toSend, to: file("wanted=true&state=pending"), isAlways: true },
    { text: "tried again later", number: sum.add_later, to: `#/people?list=${list.id}&dead=false&wanted=true`, tone: "warn" },
    { text: "could not be added", number: sum.failed, to: `#/people?list=${list.id}&dead=true&wanted=true`, tone: "warn", isAlways: true },
    { text: "refused by Cordial in a file, being looked for", number: sum.unnamed, to: `#/imports?list=${list.id}`, tone: "warn" },
    { text: "another spelling of somebody counted above", number: sum.same_person },
    { text: "with an unusable id", number: sum.unusable, to: `#/unusable?list=${list.id}&wanted=true`, tone: "warn", isAlways: true },
  ];
  const leaves = [
    [sum.to_remove, `${people(sum.to_remove)} left the segment and ${sum.to_remove === 1 ? "is" : "are"} still to be taken off the list`, file("wanted=false&state=pending")],
    [sum.remove_failed, `${people(sum.remove_failed)} could not be removed`, `#/people?list=${list.id}&dead=true&wanted=false`],
  ];
  // That pages still come is no trouble; that they are overdue is.
  const stillCome = new Set(syncs.filter((each) => !each.pages_overdue).map((each) => each.id));
  const aside = [sum.additions_set_aside && `${count(sum.additions_set_aside)} to add`, sum.removals_set_aside && `${count(sum.removals_set_aside)} to remove`].filter(Boolean).join(", ");
  return html`<${Section} title="Where is everybody?" id="sum-heading">
    <table class="sum" id="sum"><caption class="unseen">Where the users are that Heap named</caption><tbody>
      <tr class="total"><th scope="row">${sum.missing_pages.length || sum.unread_pages ? "Heap named so far" : "Heap named"}</th><td class="number">${count(named)}</td></tr>
      ${rows
        .filter(({ number, isAlways }) => number || isAlways)
        .map(
          ({ text, number, to, tone }) => html`<tr key=${text.split(" (")[0]} data-tone=${number ? tone : undefined}>
          <th scope="row">${number && to ? html`<a href=${to}>${text}</a>` : text}</th><td class="number">${count(number)}</td></tr>`,
        )}
      ${sum.missing_pages.map(
        (each) => html`<tr key=${each.sync_id} data-tone=${stillCome.has(each.sync_id) ? undefined : "warn"}><th scope="row"><${Link} to=${`syncs/${each.sync_id}`}>in pages that have not arrived<//>
          <span class="hint"> (${each.pages_received} of ${each.total_pages} pages are here)</span></th><td class="number">?</td></tr>`,
      )}
    </tbody></table>
    ${sum.unread_pages && html`<p class="hint">More pages have come that are not counted yet.</p>`}
    ${list.import_state && html`<p class="hint">What is to be sent travels in <${Link} to=${`imports?list=${list.id}`}>${list.import_state === "sending" ? "a file" : "a file that is not made yet"}<//>.${
      doubtful && html` Nobody knows whether Cordial runs it: <${Link} to=${`imports/${doubtful.id}`}>look for its job, then say what you saw<//>.`
    }</p>`}
    ${leaves.filter(([number]) => number > 0).map(([, text, to]) => html`<p key=${to}><a href=${to}>${text}</a>.</p>`)}
    ${aside &&
    html`<p data-tone="warn">Not counted: ${aside}, in <${Link} to=${`syncs?list=${list.id}${sum.is_held ? "&state=held" : ""}`}>${sum.is_held ? "a sync that is held" : "a sync that waits for its other pages or is being read"}<//>${syncs.some((each) => each.state === "queued") && ", and in later ones"}.</p>`}
    ${sum.discarded > 0 && html`<p class="hint">${people(sum.discarded)} ${sum.discarded === 1 ? "was" : "were"} named in <${Link} to=${`syncs?list=${list.id}&state=discarded`}>syncs that a person discarded<//>.</p>`}
    ${sum.overtaken > 0 && html`<p class="hint">${plural(sum.overtaken, "change")} of <${Link} to=${`syncs?list=${list.id}`}>older syncs<//> ${sum.overtaken === 1 ? "was" : "were"} overtaken by newer ones.</p>`}
  <//>`;
}

// Why nothing of the list is sent, where its account is the reason.
const KeptBack = ({ account, primary }) => html`<section class="card notice">
  <p class="wrap"><${Prose} text=${account.kept_back} /></p>
  ${account.standing === "stopped" && account.hint && html`<p><${Prose} text=${account.hint} /></p>`}
  <p class="buttons"><${AccountAction} account=${account} primary=${primary} /><${Link} to=${`accounts/${encodeURIComponent(account.name)}`}>Open ${account.name}<//></p></section>`;

// Who is not known may still be in what does not count yet.
const mayBeNamed = (sum) => sum.missing_pages.length > 0 || sum.unread_pages || sum.additions_set_aside + sum.removals_set_aside + sum.discarded > 0;

function Person({ list, sum }) {
  const [answer, setAnswer] = useState(null);
  const lookUp = async (event) => {
    event.preventDefault();
    const user = new FormData(event.target).get("user");
    try {
      setAnswer({ member: await ask(`lists/${list.id}/members/find`, { user }) });
    } catch (error) {
      setAnswer({ error });
    }
  };
  const member = answer?.member;
  const state = () => {
    if (member.state === "settled" && member.on_list === null) return ["Not known yet", "warn"];
    if (member.state === "settled") return [member.on_list ? "On the list" : "Not on the list", "good"];
    return member.state === "never_named" && sum && mayBeNamed(sum) ? ["Not known yet", "warn"] : MEMBER_STATE[member.state];
  };
  return html`<${Section} title="Why is this person not on the list?" id="member-heading">
    <form class="lookup" onSubmit=${lookUp}>
      <label class="field"><span>User, as Heap names it</span>
        <input name="user" id="member-user" required autocomplete="off" spellcheck=${false} placeholder="jane@example.com" /></label>
      <button type="submit">Look up</button>
    </form>
    <div class="answer" id="member-answer" role="status">${answer?.error && html`<p class="trouble">${sentence(answer.error.message)}</p>`}
      ${member &&
      html`<${Badge} of=${state()} /><p><${Prose} text=${member.explanation} /></p>
        ${member.state === "never_named" && sum?.unusable > 0 && html`<p><${Link} to=${`unusable?list=${list.id}`}>See the unusable ids<//></p>`}
        <${Terms} items=${[
          ["Named in", member.heap && html`<${Link} to=${`syncs/${member.heap.sync_id}`}>${member.heap.page_number ? `page ${count(member.heap.page_number)} of a sync` : "a sync"}<//>`],
          ["Heap last said", member.heap && `${member.heap.wanted ? "in the segment" : "not in the segment"}${member.heap.said_at ? `, ${momentText(member.heap.said_at)}` : ""}`],
          ["Sent as", member.contact && person(member.contact)],
          ["Cordial answered", member.failure && `${member.failure.status ? `HTTP ${member.failure.status}: ` : ""}${member.failure.message}`],
        ]} />
        <p class="hint">To take a person off all lists and erase every trace of them here, use a terminal: <${Code} text="heap-cordial forget USER" />.
          That cannot be undone, and needs an API key with the role admin.</p>`}</div>
  <//>`;
}

export function List({ id }) {
  const { data: list, error } = useResource(`lists/${id}`);
  const parts = [`lists/${id}/sum`, `failures/groups?list=${id}`, `syncs?list=${id}&limit=8`, "accounts"].map((path) => useResource(path));
  const [sum, { items: groups } = { items: [] }, { items: syncs } = { items: [] }, { items: accounts } = { items: [] }] = parts.map(
    (each) => each.data ?? undefined,
  );
  const imports = useResource(list?.import_state === "sending" ? `imports?list=${id}&limit=5&sort=trouble` : null).data?.items ?? [];
  const doubtful = imports.find((each) => inDoubt(each) > 0);
  if (!list || isReading(...parts)) return html`<${Title} text="List" /><${NotYet} error=${error} to="lists" text="All lists" />`;
  const account = accounts.find((each) => each.name === list.account);
  const held = syncs.find((each) => each.state === "held");
  const keptBackBy = list.pending + list.waiting > 0 && account && isKeptBack(account) ? account : null;
  const hasReason = needsReason(list, keptBackBy);
  // What to do about failures is said where they are; of rows without a name, and of a list that is held, it is said first.
  const isAboutFailures = list.failed > 0 && groups.length > 0 && !list.unnamed && !saysWhy(list);
  const advice = isAboutFailures ? "" : list.what_to_do;
  const isAboutRows = list.unnamed > 0 && !saysWhy(list);
  return html`
    <${Title} text=${html`<${Name} text=${list.segment_name} />`} badge=${listState(list, account)}>
        ${list.awaits_approval
          ? html`<${Approve} list=${list} primary=${true} /><${Preview} list=${list} />`
          : account?.state === "dry_run" && html`<${Preview} list=${list} primary=${true} />`}
        ${list.cordial_list_id && html`<${Verify} list=${list} /><${Rebuild} list=${list} primary=${list.standing === "differs" && list.count_differs_by < 0} />`}
    <//>
    <${Trouble} error=${error ?? parts.find((each) => each.error)?.error} />
    ${list.awaits_approval && html`<${Needs} what="To approve the segment" />`}
    ${(hasReason || advice) &&
    html`<section class="card notice">${hasReason && html`<p class="wrap"><${Prose} text=${list.reason} /></p>`}${isAboutRows && html`<p>Cordial refused ${people(list.unnamed)} in a file, and did not say whom.</p>`}${advice && html`<p><${Prose} text=${advice} /></p>`}</section>`}
    ${keptBackBy && html`<${KeptBack} account=${keptBackBy} primary=${!list.awaits_approval && !sum?.is_held} />`}
    ${sum?.is_held && html`<section class="card notice"><p>A sync would remove an unusual share of the list. It is held until somebody decides, <${Link} to=${`syncs?list=${list.id}&state=held`}>see the sync<//>.</p>
      ${held && html`<p class="buttons"><${ApproveSync} sync=${held} primary=${true} /><${DiscardSync} sync=${held} /></p>`}</section>`}
    <div class="columns">
      ${sum ? html`<${Sum} list=${list} sum=${sum} account=${account} syncs=${syncs} doubtful=${doubtful} />` : html`<${Waiting} />`}
      <${Section} title="The list in Cordial" id="facts-heading">
        <${Terms} items=${[
          ["Name", listName(list)],
          ["Why this name", saysWhy(list) ? null : sentence(list.reason)],
          ["Cordial's id", list.cordial_list_id],
          ["Account", html`<${Link} to=${`accounts/${encodeURIComponent(list.account)}`}>${list.account}<//>`],
          ["Heap's segment", list.segment_id],
          ["Wanted", count(list.wanted)],
          ["Confirmed by Cordial", count(list.on_list)],
          ["Not named yet", list.unnamed > 0 ? `${count(list.unnamed)} more, refused in a file, are being looked for` : null],
          ["Cordial counts", html`<${Counted} list=${list} />`],
          ["Read back", list.read_back > 0 ? list.proof : null],
          ["First seen", html`<${Time} at=${list.created_at} />`],
        ]} />
        <p class="buttons"><a href=${`api/v1/lists/${list.id}/members?format=csv`} download>Members as CSV</a>
          <a href=${`api/v1/failures?format=csv&list=${list.id}`} download>Failures as CSV</a></p>
      <//>
    </div>
    ${groups.length > 0 &&
    html`<${Section} title=${groups.some((each) => each.dead) ? "Could not be added or removed" : "Not added or removed yet"} id="groups-heading" hint=${isAboutFailures && list.what_to_do} actions=${html`<${Link} to=${`people?list=${list.id}`}>See who<//>`}>
      <ul class="plain" id="failure-rows">${groups.map(
        (group) => html`<li class="row" key=${`${group.reason} ${group.dead}`}>
          <div class="row-head"><strong>${people(group.changes)}</strong>
            <${Badge} of=${failureState(group)} /></div>
          <p class="wrap">${latestOf(group)}</p><p class="hint">${group.reason} · began <${Time} at=${group.first_failed_at} /></p>
          <${Retry} selection=${{ list: group.list_id, reason: group.reason, dead: group.dead }} listName=${group.segment_name} number=${group.changes} primary=${group === groups[0] && list.standing === "incomplete" && !keptBackBy} /></li>`,
      )}</ul><//>`}
    <${Person} list=${list} sum=${sum} />
    <${Section} title="Its syncs" id="syncs-heading" actions=${html`<span class="buttons"><${Link} to=${`activity?list=${list.id}`}>History of the list<//><${Link} to=${`syncs?list=${list.id}`}>All<//></span>`}>
      <${SyncTable} syncs=${syncs} accounts=${accounts} ofOneList=${true} empty="None is kept any more." /><//>`;
}
