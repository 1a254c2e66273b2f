// Failures, grouped by what they have in common, each group with its way out.

import { post } from "./api.js";
import { badge, button, byId, element, showItems } from "./dom.js";
import { moment, plural } from "./words.js";
import { act } from "./toast.js";

export const retry = (group) =>
  button("Retry", () =>
    act(
      () => post("failures/retry", { list: group.list_id, reason: group.reason }),
      (done) => `${plural(done.retried, "change")} will be sent again.`,
    ),
    { label: `Retry ${group.reason} on ${group.list_name}` },
  );

function makeRow(group) {
  return element(
    "li",
    { className: "row" },
    element(
      "div",
      { className: "row-head" },
      element("strong", { text: `${plural(group.changes, "change")} of ${group.list_name || "a list"}` }),
      badge(group.dead ? "Given up" : "Tried again by itself", group.dead ? "bad" : "warn"),
    ),
    element("p", { text: group.message }),
    element("p", { className: "hint", text: `${group.reason} · since ${moment(group.first_failed_at)}` }),
    retry(group),
  );
}

export function showFailures(groups) {
  byId("failures-none").hidden = groups.length > 0;
  showItems(byId("failure-rows"), groups, (group) => `${group.list_id} ${group.reason} ${group.dead}`, makeRow);
}
