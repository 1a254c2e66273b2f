// Why is this user not on the list? The user's id travels in the body, never in an address that gets logged.

import { post } from "./api.js";
import { badge, byId, element } from "./dom.js";
import { moment } from "./words.js";

const STANDINGS = {
  never_named: ["Heap never named this user", "warn"],
  settled: ["Settled", "good"],
  pending: ["To be sent", "warn"],
  waiting: ["Waits to be sent again", "warn"],
  dead: ["Given up", "bad"],
};

function term(name, text) {
  return text ? [element("dt", { text: name }), element("dd", { text })] : [];
}

function describe(member) {
  const [text, tone] = STANDINGS[member.state];
  const settled = member.state === "settled" ? [member.on_list ? "On the list" : "Not on the list", tone] : [text, tone];
  const heap = member.heap;
  const page = heap?.page_number ? `, page ${heap.page_number} of sync ${heap.task_id}` : "";
  const said = heap && `${heap.wanted ? "in the segment" : "not in the segment"} (${moment(heap.said_at)}${page})`;
  const failure = member.failure;
  const answer = failure && `${failure.status ? `HTTP ${failure.status}: ` : ""}${failure.message} (${failure.failures} times)`;
  const next = member.next.at ? `${member.next.what} (${moment(member.next.at)})` : member.next.what;
  return [
    badge(...settled),
    element("p", { text: member.explanation }),
    element(
      "dl",
      { className: "terms" },
      ...term("Heap last said", said),
      ...term("Sent as", member.contact),
      ...term("Cordial answered", answer),
      ...term("What comes next", next),
    ),
  ];
}

export function setUpLookup() {
  byId("member-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const answer = byId("member-answer");
    try {
      const member = await post(`lists/${byId("member-list").value}/members/find`, { user: byId("member-user").value });
      answer.replaceChildren(...describe(member));
    } catch (error) {
      answer.replaceChildren(element("p", { text: error.message, tone: "bad" }));
    }
  });
}

export function showChoices(lists) {
  const select = byId("member-list");
  const print = lists.map((list) => `${list.id} ${list.list_name}`).join();
  if (select.dataset.print === print) return;
  const chosen = select.value;
  select.replaceChildren(
    ...lists.map((list) => {
      const option = element("option", { text: `${list.list_name || list.segment_name} (${list.account})` });
      option.value = list.id;
      return option;
    }),
  );
  if (lists.some((list) => String(list.id) === chosen)) select.value = chosen;
  select.dataset.print = print;
}
