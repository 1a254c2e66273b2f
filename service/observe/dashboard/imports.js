// Imports: changes that travel to Cordial as files. Shown while one runs, and for a day after.

import { badge, byId, element, showItems } from "./dom.js";
import { count, moment, plural } from "./words.js";

const SHOWN_FOR_MS = 86_400_000;

const PARTS = {
  ready: "is to be given to Cordial",
  posting: "is being given to Cordial",
  running: "is being carried out",
  in_doubt: "is with Cordial, and nobody knows whether it is carried out; its contacts wait",
  settling: "took effect",
  releasing: "is left to single calls",
};

function stateOf(each) {
  if (each.state === "gathering") return ["Gathering", "warn"];
  if (each.state === "sending") return ["Sending", "warn"];
  if (each.released || !each.contacts) return ["Left to calls", "warn"];
  return ["Done", "good"];
}

function describePart(part) {
  const fetched = part.state === "running" ? (part.fetched_at ? ", file fetched" : ", file not fetched yet") : "";
  const job = part.job_id ? ` (Cordial's job ${part.job_id}${fetched})` : "";
  return `${plural(part.contacts, "contact")}: the file ${PARTS[part.state]}${job}`;
}

function makeRow(each) {
  const [text, tone] = stateOf(each);
  const times = each.ended_at
    ? `${each.account} · ${moment(each.started_at)} to ${moment(each.ended_at)}`
    : `${each.account} · since ${moment(each.started_at)}`;
  const figures = [
    plural(each.contacts, "contact"),
    each.settled ? `${count(each.settled)} settled` : null,
    each.released ? `${count(each.released)} left to single calls` : null,
    plural(each.jobs, "job"),
  ];
  return element(
    "li",
    { className: "row" },
    element(
      "div",
      { className: "row-head" },
      element("strong", { text: each.lists.map((list) => list.list_name).join(", ") }),
      element("span", { className: "hint", text: times }),
      badge(text, tone),
    ),
    element("p", { className: "hint", text: figures.filter(Boolean).join(" · ") }),
    ...each.parts.slice(0, 5).map((part) => element("p", { className: "hint wrap", text: describePart(part) })),
    each.parts.length > 5 ? element("p", { className: "hint", text: `and ${plural(each.parts.length - 5, "more file")}` }) : null,
    each.reason ? element("p", { className: "wrap", text: `${each.reason}.` }) : null,
  );
}

export function showImports(imports) {
  const recent = imports.filter((each) => !each.ended_at || Date.now() - new Date(each.ended_at) < SHOWN_FOR_MS);
  byId("imports-card").hidden = recent.length === 0;
  showItems(byId("import-rows"), recent, (each) => each.id, makeRow);
}
