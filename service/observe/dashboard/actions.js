// What a person can do, each with what it will change shown before.

import { html } from "./vendor/preact-htm.js";
import { ask, get, post, withQuery } from "./api.js";
import { act, Button, confirm, Prose } from "./ui.js";
import { count, people, person, plural } from "./words.js";

// With blanks, so that it is not broken within what belongs together.
const asText = (body) => JSON.stringify(body, null, 1).replace(/,\n\s*/g, ", ").replace(/\n\s*/g, "");

const FirstCalls = ({ preview, of = "" }) =>
  preview.calls.length > 0 &&
  html`<p class="hint">The first calls to Cordial${of}:</p>
    <ul class="calls">${preview.calls.map(
      (call) => html`<li><code>${call.method} ${call.path}${call.body ? ` ${asText(call.body)}` : ""}</code></li>`,
    )}${preview.more_calls && html`<li class="hint">and more</li>`}</ul>`;

// What keeps the accounts of these from sending now.
async function keptBack(things) {
  const { items } = await get("accounts");
  return items.filter((account) => things.some((each) => each.account === account.name)).map((account) => account.kept_back).filter(Boolean);
}

const KeptBack = ({ sentences }) => sentences.map((text) => html`<p key=${text}><${Prose} text=${text} /></p>`);

// What was done, and what keeps it from being sent: the service's own words after each action that leaves something to send.
const andKeptBack = (words, done) => (done.kept_back.length ? [[words, ...done.kept_back].join(" "), "warn"] : words);

// What would be sent for a list, and what keeps it from being sent.
const whatWouldBeSent = async (list, query) => ({
  preview: await get(withQuery(`lists/${list.id}/preview`, query)),
  why: await keptBack([list]),
});

const Calls = ({ preview, why }) => html`
  <p>${preview.additions ? people(preview.additions) : "Nobody"} would be added, ${preview.removals ? people(preview.removals) : "nobody"} removed.${
    preview.unread_pages ? " More pages have come that are not counted yet." : ""
  }${
    preview.set_aside ? ` Not counted: ${people(preview.set_aside)} in ${preview.is_held ? "syncs that are held" : "a sync that waits for its other pages or is being read"}.` : ""
  }</p><${KeptBack} sentences=${why} />
  <${FirstCalls} preview=${preview} />
`;

export const Preview = ({ list, primary }) => html`<${Button} text="Preview…" primary=${primary} needs="read"
  label=${`Preview… ${list.segment_name}`} onClick=${() =>
    confirm({
      title: `What would be sent for ${list.segment_name}`,
      read: () => whatWouldBeSent(list, { calls: 5 }),
      body: (found) => html`<${Calls} ...${found} />`,
    })} />`;

export const Approve = ({ list, primary }) => html`<${Button} text="Approve…" primary=${primary}
  label=${`Approve… ${list.segment_name}`} onClick=${() =>
    confirm({
      title: `Approve ${list.segment_name}?`,
      button: `Approve ${people(list.pending + list.waiting)}`,
      read: () => whatWouldBeSent(list, { calls: 3 }),
      body: (found) => html`<${Calls} ...${found} />`,
      work: () => post(`lists/${list.id}/approve`),
      words: (done) => andKeptBack(`${list.segment_name} is approved.`, done),
    })} />`;

// What a held sync would do, before a person decides.
export const Removals = ({ found }) => html`
  <p><strong>${people(found.removals)} of ${count(found.removals_of)}</strong> wanted on the list would be removed${
    found.additions ? `, and ${people(found.additions)} named to be added` : ""
  }.${found.pages_missing ? ` ${plural(found.pages_missing, "page")} of the sync ${found.pages_missing === 1 ? "has" : "have"} not arrived; the decision is for ${found.pages_missing === 1 ? "it" : "them"} too.` : ""}${
    found.queued_syncs ? ` ${plural(found.queued_syncs, "later sync")} of the segment ${found.queued_syncs === 1 ? "waits" : "wait"} behind it.` : ""
  }</p>
  ${found.first.length > 0 &&
  html`<p class="hint">Named for removal${found.first.length < found.removals ? ", for example" : ""}:</p>
    <ul class="calls">${found.first.map((contact) => html`<li>${person(contact)}</li>`)}</ul>`}
`;

export const ApproveSync = ({ sync, primary }) => html`<${Button} text="Approve…" primary=${primary}
  label=${`Approve… sync of ${sync.segment_name}`} onClick=${() =>
    confirm({
      title: `Approve the sync of ${sync.segment_name}?`,
      button: `Remove ${people(sync.removals)}`,
      read: () => get(`syncs/${sync.id}/removals`),
      body: (found) => html`<${Removals} found=${found} />`,
      work: () => post(`syncs/${sync.id}/approve`),
      words: (done) => andKeptBack(done.decided ? `The sync of ${sync.segment_name} is approved.` : "The sync is not held any more.", done),
    })} />`;

export const DiscardSync = ({ sync }) => html`<${Button} text="Discard…" label=${`Discard… sync of ${sync.segment_name}`} onClick=${() =>
  confirm({
    title: `Discard the sync of ${sync.segment_name}?`,
    button: "Discard the sync",
    read: () => get(`syncs/${sync.id}/removals`),
    body: (found) => html`<${Removals} found=${found} />
      <p>Nothing of the sync is sent, and that cannot be undone. Press “Sync now” in Heap to get the segment again.</p>`,
    work: () => post(`syncs/${sync.id}/discard`),
    words: (done) => (done.decided ? `The sync of ${sync.segment_name} is discarded.` : "The sync is not held any more."),
  })} />`;

// Why a list is not what the segment is, although Cordial counts what it confirmed.
function whatIsMissing(list) {
  if (list.failed) return `${people(list.failed)} could not be added or removed`;
  if (list.standing === "receiving") return "pages of a sync have not arrived";
  if (list.standing === "sync_held") return "a sync is held";
  if (list.standing === "sending") return "pages that were accepted are not processed yet";
  return list.unnamed ? `${people(list.unnamed)} refused by Cordial ${list.unnamed === 1 ? "is" : "are"} being looked for` : "";
}

export const Verify = ({ list }) => html`<${Button} text="Verify" label=${`Verify ${list.segment_name}`} onClick=${() =>
  act(
    // As the list is after the count, so that its badge says the same.
    async () => ({ ...(await post(`lists/${list.id}/verify`)), list: await get(`lists/${list.id}`) }),
    (found) => {
      if (found.owed) return [`${list.segment_name}: ${plural(found.owed, "change")} still to be sent; Cordial counts ${count(found.counted)}.`, "warn"];
      const missing = whatIsMissing(found.list);
      if (found.differs && found.list.failed && found.list.standing !== "differs") return [`${list.segment_name}: Cordial counts ${count(found.counted)}, ${count(found.expected)} are confirmed, and ${missing}.`, "warn"];
      if (found.differs) return [`${list.segment_name} differs: Cordial counts ${count(found.counted)}, ${count(found.expected)} should be there${missing && `, and ${missing}`}.`, "bad"];
      if (missing) return [`${list.segment_name}: Cordial counts ${count(found.counted)}, as many as it confirmed, but ${missing}.`, "warn"];
      return `${list.segment_name} is exact: Cordial counts ${count(found.counted)}.`;
    },
  )} />`;

const isCreatedAgain = (list) => ["deleted", "other_cordial"].includes(list.held_for);

function rebuilt(list, sent) {
  if (isCreatedAgain(list)) return `${list.segment_name} will be created again in Cordial, and all its members sent to it.`;
  return sent ? `${plural(sent, "membership")} of ${list.segment_name} will be sent again.` : `Nothing of ${list.segment_name} is sent again: ${list.wanted ? "all is still to be sent" : "it has no members"}.`;
}

export const Rebuild = ({ list, primary }) => html`<${Button} text="Rebuild…" primary=${primary}
  label=${`Rebuild… ${list.segment_name}`} onClick=${() =>
    confirm({
      title: `Rebuild ${list.segment_name}?`,
      button: isCreatedAgain(list) ? "Create the list again" : `Send ${plural(list.wanted, "membership")} again`,
      read: () => whatWouldBeSent(list, { calls: 3, rebuild: true }),
      body: ({ preview, why }) => html`<p>${isCreatedAgain(list) && "The list is created again in Cordial. "}All ${plural(list.wanted, "membership")} are sent to Cordial again. That changes nothing where Cordial has
        them already, and adds who is missing.</p><${KeptBack} sentences=${why} /><${FirstCalls} preview=${preview} />`,
      work: () => post(`lists/${list.id}/rebuild`),
      words: (done) => andKeptBack(rebuilt(list, done.sent_again), done),
    })} />`;

export const Pause = ({ account }) => html`<${Button} text="Pause…" label=${`Pause… ${account.name}`} onClick=${() =>
  confirm({
    title: `Pause ${account.name}?`,
    button: `Pause ${account.name}`,
    body: () => html`<p>Pages from Heap are still taken. Nothing is sent to Cordial until somebody resumes the account.
      ${waits(account) ? ` ${plural(waits(account), "change")} ${waits(account) === 1 ? "waits" : "wait"} until then.` : ""}</p>`,
    work: () => post(`accounts/${encodeURIComponent(account.name)}/pause`),
    words: `${account.name} is paused.`,
  })} />`;

const waits = (account) => account.pending + account.waiting;

// What an account sends first once it may: of the list that has the most to send.
async function firstOf(account) {
  const { items: [list] } = await get(withQuery("lists", { account: account.name, sort: "to_send", limit: 1 }));
  if (!list?.pending) return null;
  return { list, preview: await get(`lists/${list.id}/preview?calls=3`) };
}

const Resume = ({ account, primary, small }) => html`<${Button} text="Resume…" primary=${primary} small=${small}
  label=${`Resume… ${account.name}`} onClick=${() =>
    confirm({
      title: `Resume ${account.name}?`,
      button: `Resume ${account.name}`,
      read: () => firstOf(account),
      body: (first) => html`<p>${waits(account) ? `${plural(waits(account), "change")} ${waits(account) === 1 ? "is" : "are"} sent to Cordial` : "Nothing waits: what Heap posts is sent to Cordial"} from now on, except for lists that are held.</p>
        ${first && html`<${FirstCalls} preview=${first.preview} of=${`, of ${first.list.segment_name}`} />`}`,
      work: () => post(`accounts/${encodeURIComponent(account.name)}/resume`),
      words: (done) => andKeptBack(done.kept_back.length ? `${account.name} is not paused any more.` : `${account.name} sends again.`, done),
    })} />`;

// Nothing is done that the service does not do by itself later.
const TryNow = ({ account, primary, small }) => html`<${Button} text="Try now" primary=${primary} small=${small} label=${`Try now ${account.name}`}
  onClick=${() => act(() => post(`accounts/${encodeURIComponent(account.name)}/resume`), `${account.name} is tried once more.`)} />`;

const FirstPeople = ({ failures, number }) => html`${number > failures.length && html`<p class="hint">The first of them:</p>`}
  <ul class="calls">${failures.map(
    (each) => html`<li key=${each.id}>${person(each.contact)}, to be ${each.wanted ? "added to" : "removed from"} ${each.segment_name}</li>`,
  )}</ul>`;

const SHOWN_PEOPLE = 3;

// Sends failures again: `selection` is what the API selects them by, `known` some of them where they are on the page.
export const retry = ({ selection, number, on = "", known, after = () => undefined }) =>
  confirm({
    title: `Retry ${plural(number, "change")}${on && ` on ${on}`}?`,
    button: `Retry ${count(number)}`,
    read: async () => {
      const failures = known ? known.slice(0, SHOWN_PEOPLE) : (await ask("failures/find", { ...selection, limit: SHOWN_PEOPLE })).items;
      return { failures, why: await keptBack(failures) };
    },
    body: ({ failures, why }) => html`<p>${number === 1 ? "It is" : `All ${count(number)} are`} sent to Cordial again, with as many attempts as a new change.</p>
      <${KeptBack} sentences=${why} />
      ${failures.length > 0 && html`<${FirstPeople} failures=${failures} number=${number} />`}`,
    work: async () => {
      const done = await post("failures/retry", selection);
      after();
      return done;
    },
    words: (done) => andKeptBack(`${plural(done.retried, "change")} will be sent again.`, done),
  });

export const Retry = ({ selection, listName, number, primary }) => html`<${Button} text=${`Retry ${count(number)}…`} primary=${primary}
  label=${`Retry ${count(number)}… on ${listName}`} onClick=${() => retry({ selection, number, on: listName })} />`;

// How many contacts of an import wait for a job whose end the service cannot know.
export const inDoubt = ({ parts }) => parts.reduce((sum, part) => sum + (part.doubt ? part.contacts : 0), 0);

const SEEN = { over: ["The job is over…", "is over"], never_started: ["It never started…", "was never started"] };

export const EndDoubt = ({ each, job }) => html`<${Button} text=${SEEN[job][0]} label=${`${SEEN[job][0]} Import ${each.id}`} onClick=${() =>
  confirm({
    title: `The job of import ${each.id} ${SEEN[job][1]}?`,
    button: `Send ${people(inDoubt(each))} by single calls`,
    body: () => html`<p>You say that the job ${SEEN[job][1]}, as Cordial's own list of jobs shows. ${people(inDoubt(each))} of the
      file are then sent by single calls.</p><p>If Cordial runs the job later, it brings an older state back.</p>`,
    work: () => post(`imports/${each.id}/end-doubt`, { job }),
    words: (done) => `${people(done.contacts)} will be sent by single calls.`,
  })} />`;

// Files rest after an import that failed.
export const UseFiles = ({ account, primary }) => html`<${Button} text="Use files again" primary=${primary} label=${`Use files again ${account.name}`}
  onClick=${() => act(() => post(`accounts/${encodeURIComponent(account.name)}/resume`), `${account.name} uses files again.`)} />`;

// The one thing to press where an account does not send as it should.
export function AccountAction({ account, primary, small }) {
  if (account.state === "paused_by_operator") return html`<${Resume} account=${account} primary=${primary} small=${small} />`;
  if (account.state === "paused") return html`<${TryNow} account=${account} primary=${primary} small=${small} />`;
  return null;
}
