// The pages that Heap delivered last.

import { badge, byId, element, showItems } from "./dom.js";
import { count, moment, plural } from "./words.js";

function unusable(delivery) {
  if (!delivery.rejected) return element("td", { className: "hint", label: "Unusable", text: "–" });
  const details = element("details", {}, element("summary", { text: plural(delivery.rejected, "user") }));
  const rows = delivery.rejected_users.slice(0, 20).map((user) => `${user.path}: ${user.reason} “${user.value}”`);
  details.append(...rows.map((text) => element("div", { className: "hint wrap", text })));
  return element("td", { label: "Unusable" }, details);
}

function makeRow(delivery) {
  const number = (label, value) => element("td", { className: "number", label, text: count(value) });
  return element(
    "tr",
    {},
    element("td", { label: "Received", text: moment(delivery.received_at) }),
    element("td", { label: "Segment", text: delivery.segment_name }),
    element("td", { className: "code", label: "Sync", text: delivery.task_id }),
    number("Page", delivery.page_number),
    number("Added", delivery.added),
    number("Removed", delivery.removed),
    unusable(delivery),
  );
}

// Refused deliveries are not kept, so they are shown as they come while the page is open.
const MOST_REFUSED = 5;
let refused = [];
let number = 0;

export function noteAnswers(answers) {
  const latest = answers.filter((answer) => answer.status !== 200).map((answer) => ({ ...answer, number: ++number }));
  refused = [...latest.reverse(), ...refused].slice(0, MOST_REFUSED);
  byId("refused").hidden = refused.length === 0;
  showItems(byId("refused-rows"), refused, (answer) => answer.number, makeRefusedRow);
}

function makeRefusedRow(answer) {
  const words = [moment(answer.at), answer.account, answer.reason ?? answer.outcome].filter(Boolean).join(" · ");
  return element("li", {}, badge(String(answer.status), answer.status < 500 ? "warn" : "bad"), words);
}

export function showDeliveries(deliveries) {
  byId("deliveries-card").hidden = deliveries.length === 0;
  showItems(byId("delivery-rows"), deliveries, (delivery) => delivery.id, makeRow);
}
