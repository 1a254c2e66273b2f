// The page's loop: an event says that something happened, then what is shown is read anew, at most once a second.

import { showAccounts } from "./accounts.js";
import { get, watch } from "./api.js";
import { showAttention } from "./attention.js";
import { noteAnswers, showDeliveries } from "./deliveries.js";
import { byId, setText } from "./dom.js";
import { showFailures } from "./failures.js";
import { showImports } from "./imports.js";
import { isExact, showLists } from "./lists.js";
import { setUpLookup, showChoices } from "./member.js";
import { showPlot } from "./plot.js";
import { showSyncs } from "./syncs.js";
import { onActed } from "./toast.js";
import { count, duration } from "./words.js";

const REST_MS = 1000;
// Without events, ages and the plot still move on.
const IDLE_MS = 10000;

let wanted = true;
let running = false;
let timer = 0;

function showConnection(state, text) {
  byId("connection").dataset.state = state;
  setText(byId("connection"), text);
}

function showFigures(accounts, lists) {
  const sum = (key) => accounts.reduce((total, account) => total + account[key], 0);
  const backlog = sum("pending") + sum("waiting");
  const byFile = lists.filter((list) => list.import_state).reduce((total, list) => total + list.pending, 0);
  const byCalls = Math.max(0, backlog - byFile);
  const rate = sum("calls_per_second");
  setText(byId("figure-backlog"), count(backlog));
  setText(byId("figure-rate"), rate.toFixed(rate < 10 ? 1 : 0));
  setText(byId("figure-left"), backlog ? (byCalls && rate > 0 ? duration(byCalls / rate) : "–") : "none");
  setText(byId("figure-exact"), lists.length ? `${count(lists.filter(isExact).length)} of ${count(lists.length)}` : "–");
  setText(byId("figure-failed"), count(sum("failed")));
  byId("figure-failed").dataset.alarm = String(sum("failed") > 0);
}

function showEmpty(accounts, deliveries) {
  byId("empty").hidden = deliveries.length > 0;
  const name = accounts.find((account) => account.state !== "not_configured")?.name ?? "ACCOUNT";
  const root = new URL(".", location.href).href;
  const address = `${root}webhooks/heap/${name}`;
  setText(byId("webhook-address"), address);
  const command = `heap-cordial send --url ${address} --secret-file SECRET --segment "Active Users" --add jane@example.com`;
  setText(byId("send-command"), command);
}

async function refresh() {
  const [accounts, lists, syncs, imports, groups, deliveries, history] = await Promise.all([
    get("accounts"),
    get("lists?limit=200"),
    get("syncs?limit=10"),
    get("imports?limit=5"),
    get("failures/groups"),
    get("deliveries?limit=10"),
    get("history"),
  ]);
  showAttention(accounts.items, lists.items, groups.items);
  showFigures(accounts.items, lists.items);
  showEmpty(accounts.items, deliveries.items);
  showAccounts(accounts.items);
  showSyncs(syncs.items, accounts.items, lists.items);
  showImports(imports.items);
  showLists(lists.items);
  showChoices(lists.items);
  showFailures(groups.items);
  showDeliveries(deliveries.items);
  showPlot(history);
}

async function run() {
  clearTimeout(timer);
  if (running) return;
  running = true;
  while (wanted) {
    wanted = false;
    try {
      await refresh();
      showConnection("live", "Live");
    } catch (error) {
      // 401 and 403 come as words of the service; anything else is a connection that is gone.
      showConnection("lost", error.status ? error.message : "Not reachable, trying again");
    }
    await new Promise((resume) => setTimeout(resume, REST_MS));
  }
  running = false;
  timer = setTimeout(soon, IDLE_MS);
}

function soon() {
  wanted = true;
  run();
}

setUpLookup();
onActed(soon);
watch(noteAnswers, soon, (stands) => {
  if (!stands) showConnection("lost", "Not reachable, trying again");
  soon();
});
soon();
