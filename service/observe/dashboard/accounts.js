// Accounts and what their sending is doing.

import { post } from "./api.js";
import { badge, button, byId, element, showItems } from "./dom.js";
import { duration, moment, plural, secondsUntil } from "./words.js";
import { act } from "./toast.js";

const STATES = {
  sending: ["Sending", "good"],
  slowed: ["Slowed by Cordial", "warn"],
  paused: ["Paused", "bad"],
  paused_by_operator: ["Paused by you", "warn"],
  dry_run: ["Dry run", "warn"],
  not_configured: ["Not configured", "warn"],
};

export const isDryRun = (account) => account.state === "dry_run";
export const isPausedByOperator = (account) => account.state === "paused_by_operator";

function steer(account) {
  const name = encodeURIComponent(account.name);
  if (account.state === "not_configured") return null;
  if (isPausedByOperator(account)) {
    return button("Resume", () => act(() => post(`accounts/${name}/resume`), `${account.name} sends again.`), {
      label: `Resume ${account.name}`,
    });
  }
  const more = account.state === "paused" ? [tryNow(account)] : [];
  return element(
    "span",
    { className: "buttons" },
    ...more,
    button("Pause", () => act(() => post(`accounts/${name}/pause`), `${account.name} is paused.`), {
      label: `Pause ${account.name}`,
    }),
  );
}

export function tryNow(account) {
  const name = encodeURIComponent(account.name);
  return button("Try now", () => act(() => post(`accounts/${name}/resume`), "Trying once more."), {
    label: `Try ${account.name} now`,
  });
}

const WAITS_FOR_TRIAL =
  "Files are set up but not used: run heap-cordial trial first. It shows whether this Cordial account subscribes nobody by them.";

const describeRest = (rest) =>
  `Resting from imports until ${moment(rest.until)}, single calls do the work: ${rest.reason}.`;

function makeRow(account) {
  const [text, tone] = STATES[account.state];
  const owed = account.pending + account.waiting;
  const figures = [
    plural(account.lists, "list"),
    owed ? `${plural(owed, "change")} to send` : "nothing to send",
    `${account.calls_per_second.toFixed(account.calls_per_second < 10 ? 1 : 0)} calls a second`,
    ...Object.entries(account.found_rates).map(([operation, rate]) => `${operation} at most ${rate.toFixed(1)} a second`),
  ];
  const next = account.next_call_at ? ` Next call in ${duration(secondsUntil(account.next_call_at))}.` : "";
  const said = account.state === "sending" || isPausedByOperator(account) ? "" : account.reason + "." + next;
  return element(
    "li",
    { className: "row" },
    element("div", { className: "row-head" }, element("strong", { text: account.name }), badge(text, tone)),
    element("p", { className: "hint", text: figures.join(" · ") }),
    said ? element("p", { text: said }) : null,
    account.imports_rest ? element("p", { className: "wrap", text: describeRest(account.imports_rest) }) : null,
    account.waits_for_trial ? element("p", { className: "wrap", text: WAITS_FOR_TRIAL }) : null,
    account.hint ? element("p", { text: account.hint }) : null,
    steer(account),
  );
}

export function showAccounts(accounts) {
  showItems(byId("account-rows"), accounts, (account) => account.name, makeRow);
}
