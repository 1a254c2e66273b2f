// Lists: what should be on them, what is, and what Cordial counts.

import { post } from "./api.js";
import { badge, button, byId, element, showItems } from "./dom.js";
import { count, moment, plural } from "./words.js";
import { act } from "./toast.js";

function stateOf(list) {
  if (list.awaits_approval) return ["To be approved", "warn"];
  if (list.state === "held") return ["Held", "bad"];
  if (list.state === "unresolved") return ["Not created yet", "warn"];
  if (list.state !== "ready") return ["Being created", "warn"];
  if (list.differs) return ["Differs", "bad"];
  if (list.failed) return ["Incomplete", "bad"];
  if (list.import_state === "sending") return ["In an import", "warn"];
  if (list.import_state === "waiting") return ["Waits for an import", "warn"];
  if (list.pending + list.waiting) return ["Catching up", "warn"];
  return ["Exact", "good"];
}

export const isExact = (list) => stateOf(list)[0] === "Exact";

export const verify = (list) =>
  button("Verify", () =>
    act(
      () => post(`lists/${list.id}/verify`),
      (found) =>
        found.differs
          ? `Cordial counts ${count(found.counted)} on ${list.list_name}; ${count(found.expected)} should be there.`
          : `${list.list_name} is exact: Cordial counts ${count(found.counted)}.`,
    ),
    { label: `Verify ${list.list_name}` },
  );

export const rebuild = (list, text = "Rebuild") =>
  button(text, () =>
    act(
      () => post(`lists/${list.id}/rebuild`),
      (done) => `${plural(done.sent_again, "membership")} of ${list.list_name} will be sent again.`,
    ),
    { label: `${text}: ${list.list_name}` },
  );

export const approve = (list) =>
  button("Approve", () => act(() => post(`lists/${list.id}/approve`), `${list.list_name} is approved and will be sent.`), {
    label: `Approve ${list.list_name}`,
  });

function makeRow(list) {
  const [text, tone] = stateOf(list);
  const name = element(
    "td",
    { className: "whole" },
    element("strong", { text: list.list_name || list.segment_name }),
    element("div", { className: "hint", text: `${list.account} · segment “${list.segment_name}”` }),
    list.read_back ? element("div", { className: "hint wrap", text: list.proof }) : null,
    list.reason ? element("div", { className: "hint wrap", text: list.reason }) : null,
  );
  const number = (label, value) =>
    element("td", { className: "number", label, text: value === null ? "–" : count(value) });
  const counted = number("Counted", list.counted);
  if (list.counted_at) counted.title = `counted at ${moment(list.counted_at)}`;
  return element(
    "tr",
    {},
    name,
    element("td", { label: "State" }, badge(text, tone)),
    number("Wanted", list.wanted),
    number("On list", list.on_list),
    number("To send", list.pending + list.waiting),
    number("Failed", list.failed),
    counted,
    element("td", { className: "whole" }, element("span", { className: "buttons" }, verify(list), rebuild(list))),
  );
}

export function showLists(lists) {
  byId("lists-card").hidden = lists.length === 0;
  showItems(byId("list-rows"), lists, (list) => list.id, makeRow);
}
