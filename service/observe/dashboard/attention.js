// What is stuck, why, and what to press: everything that does not mend itself, in one place.

import { isDryRun, isPausedByOperator, tryNow } from "./accounts.js";
import { badge, byId, element, showItems } from "./dom.js";
import { retry } from "./failures.js";
import { approve, rebuild, verify } from "./lists.js";
import { plural } from "./words.js";

function ofAccounts(accounts) {
  return accounts
    .filter((account) => account.state === "paused" || isPausedByOperator(account))
    .map((account) => ({
      key: `account ${account.name}`,
      kind: "account",
      tone: isPausedByOperator(account) ? "warn" : "bad",
      title: isPausedByOperator(account) ? `${account.name} is paused by an operator` : `${account.name} cannot be served`,
      text: isPausedByOperator(account)
        ? "Deliveries are taken and kept; nothing is sent until the account is resumed."
        : [account.reason, account.hint, "It is tried again by itself; nothing is lost."].filter(Boolean).join(". "),
      subject: { name: account.name },
    }));
}

function ofDryRuns(accounts) {
  return accounts.filter(isDryRun).map((account) => ({
    key: `dry run ${account.name}`,
    kind: "dry_run",
    tone: "warn",
    label: "Dry run",
    title: `${account.name} is in a dry run`,
    text: "Deliveries are taken and kept; nothing is written to Cordial until dry_run = false in the configuration.",
    subject: {},
  }));
}

const LIST_TITLES = {
  new: (list) => `The segment “${list.segment_name}” is new`,
  held: (list) => `The list of “${list.segment_name}” is held`,
  differs: (list) => `${list.list_name} differs from Cordial`,
};

function troubleOf(list) {
  if (list.awaits_approval) return "new";
  return list.state === "held" ? "held" : "differs";
}

function ofLists(lists) {
  return lists
    .filter((list) => list.state === "held" || list.differs)
    .map((list) => ({
      key: `list ${list.id}`,
      kind: troubleOf(list),
      tone: list.awaits_approval ? "warn" : "bad",
      label: list.awaits_approval ? "New" : undefined,
      title: LIST_TITLES[troubleOf(list)](list),
      text:
        list.state === "held"
          ? list.reason
          : `${plural(list.on_list, "member")} should be on the list; Cordial counts ${list.counted}. ${list.what_to_do}`,
      subject: {
        id: list.id,
        list_name: list.list_name || list.segment_name,
        isDeleted: Boolean(list.cordial_list_id),
      },
    }));
}

function ofFailures(groups) {
  return groups
    .filter((group) => group.dead)
    .map((group) => ({
      key: `failure ${group.list_id} ${group.reason}`,
      kind: "failure",
      tone: "bad",
      title: `${plural(group.changes, "change")} of ${group.list_name} given up`,
      text: group.message,
      subject: { list_id: group.list_id, list_name: group.list_name, reason: group.reason },
    }));
}

const WAYS_OUT = {
  account: (account) => [tryNow(account)],
  held: (list) => [rebuild(list, list.isDeleted ? "Create it again" : "Look again")],
  differs: (list) => [verify(list), rebuild(list)],
  failure: (group) => [retry(group)],
  dry_run: () => [],
  new: (list) => [approve(list)],
};

function makeRow(trouble) {
  return element(
    "li",
    { className: "row" },
    element("div", { className: "row-head" }, badge(trouble.label ?? (trouble.tone === "bad" ? "Stuck" : "Paused"), trouble.tone), element("strong", { text: trouble.title })),
    element("p", { className: "wrap", text: trouble.text }),
    element("span", { className: "buttons" }, ...WAYS_OUT[trouble.kind](trouble.subject)),
  );
}

export function showAttention(accounts, lists, groups) {
  const troubles = [...ofAccounts(accounts), ...ofDryRuns(accounts), ...ofLists(lists), ...ofFailures(groups)];
  byId("attention").hidden = troubles.length === 0;
  showItems(byId("attention-rows"), troubles, (trouble) => trouble.key, makeRow);
}
