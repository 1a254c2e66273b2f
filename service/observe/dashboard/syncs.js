// Syncs as progress bars.

import { badge, byId, element, showItems } from "./dom.js";
import { count, duration, moment, plural } from "./words.js";

const STATES = {
  receiving: ["Receiving", "warn"],
  sending: ["Sending", "warn"],
  done: ["Done", "good"],
  failed: ["Done, with failures", "bad"],
};

function shareOf(sync) {
  if (!sync.changes) return sync.unfolded_pieces ? 0 : 1;
  return Math.max(0, Math.min(1, (sync.changes - sync.pending) / sync.changes));
}

function makeRow({ sync, left }) {
  const share = shareOf(sync);
  const [text, tone] = STATES[sync.state];
  const bar = element("progress", {});
  bar.max = 1;
  bar.value = share;
  bar.setAttribute("aria-label", `${sync.list_name || sync.segment_name}: ${Math.floor(share * 100)} percent sent`);
  const parts = [
    `${count(sync.pages_received)} of ${plural(sync.total_pages, "page")} arrived`,
    `+${count(sync.added)} −${count(sync.removed)}`,
    sync.pending ? `${count(sync.pending)} to send` : null,
    sync.pending && left !== null ? `about ${duration(left)} left` : null,
    sync.failed ? `${count(sync.failed)} failed` : null,
    sync.rejected ? `${count(sync.rejected)} unusable` : null,
    sync.superseded ? `${count(sync.superseded)} overtaken by newer syncs` : null,
    sync.overtaken_users ? `${count(sync.overtaken_users)} came too late` : null,
    sync.duplicates ? `${plural(sync.duplicates, "repeat")} ignored` : null,
  ];
  return element(
    "li",
    { className: "row" },
    element(
      "div",
      { className: "row-head" },
      element("strong", { text: sync.list_name || sync.segment_name }),
      element("span", { className: "hint", text: `${sync.account} · ${moment(sync.last_received_at)}` }),
      badge(text, tone),
    ),
    element("div", { className: "bar" }, bar, element("span", { className: "number", text: `${Math.floor(share * 100)} %` })),
    element("p", { className: "hint", text: parts.filter(Boolean).join(" · ") }),
  );
}

export function showSyncs(syncs, accounts, lists) {
  byId("syncs-card").hidden = syncs.length === 0;
  const rates = new Map(accounts.map((account) => [account.name, account.calls_per_second]));
  // What travels as a file does not go at the pace of calls.
  const travelling = new Set(lists.filter((list) => list.import_state).map((list) => list.id));
  const items = syncs.map((sync) => {
    const rate = travelling.has(sync.list_id) ? 0 : (rates.get(sync.account) ?? 0);
    return { sync, left: rate > 0 ? sync.pending / rate : null };
  });
  showItems(byId("sync-rows"), items, (item) => item.sync.id, makeRow);
}
