// Figures, times and names as people read them. One word for one thing.

const numbers = new Intl.NumberFormat("en");

export const count = (value) => numbers.format(value);

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export const people = (number) => plural(number, "person", "people");

// What is known of failures that have one reason: they need not all have been answered alike.
export const latestOf = ({ changes, message }) => (changes > 1 ? `The latest: ${message}` : message);

// How many failures people have, where somebody has more than one.
export const inChanges = ({ failed, failed_people: failedPeople }) => (failed > failedPeople ? `in ${plural(failed, "failure")} on all lists` : null);

export function rate(value) {
  return value > 0 && value < 10 ? value.toFixed(1) : count(Math.round(value));
}

export function duration(seconds) {
  if (seconds < 1) return "less than 1 s";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

const about = (seconds) => (seconds < 1 ? duration(seconds) : `about ${duration(seconds)}`);

// Users of whom nothing is sent yet, beside what is to be sent.
export const setAside = (users) => `and ${count(users)} held, or waiting for pages`;

// When what these accounts have to send is sent; what cannot be sent now is not promised. At the beginning of a large sync,
// nearly all of it is in pages that are not read yet.
export function whenSent(accounts, seconds, total) {
  const left = (account) => account.sendable + account.unread;
  const sendable = accounts.reduce((sum, each) => sum + (each.state === "sending" ? left(each) : 0), 0);
  if (seconds !== null) return sendable < total ? `${count(sendable)} of them in ${about(seconds)}` : `${about(seconds)} left`;
  const moves = accounts.some((each) => ["sending", "slowed"].includes(each.state) && (left(each) > 0 || each.settled_per_second > 0));
  return moves ? "time left not known" : "nothing of it is sent now";
}

export const ago = (moment, now = Date.now()) => {
  const seconds = (now - new Date(moment)) / 1000;
  return seconds < 5 ? "just now" : `${duration(Math.max(1, seconds))} ago`;
};

const moments = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export const momentText = (moment) => moments.format(new Date(moment));

// A day and a time of it as they are short, of 24 hours; on an axis with what changes from one mark to the next.
const times = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const exactTimes = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const days = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const DAY_SECONDS = 86_400;

export const clock = (moment) => `${days.format(moment)}, ${exactTimes.format(moment)}`;

// Without the day where that is today.
export const clockOfDay = (moment) => (days.format(moment) === days.format(Date.now()) ? exactTimes : { format: clock }).format(moment);

export function clockOnAxis(moment, stepSeconds) {
  if (stepSeconds < 60) return exactTimes.format(moment);
  const time = times.format(moment);
  return stepSeconds >= DAY_SECONDS || time === "00:00" ? days.format(moment) : time;
}

export const timeZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;

// A key without a name of its own is named by the place of its file, which is no business of who looks over a shoulder.
export const keyName = (name) => name.replace(/^API key of .*/s, "API key");

// What `account.pause` and the like do not say by themselves.
const ACTIONS = {
  "account.trial": "Make a trial",
  "import.end_doubt.never_started": "Said that the job never started",
  "import.end_doubt.over": "Said that the job is over",
  "import.rejected": "Named rejected rows",
  "list.read": "Compare list",
  "list.read_back": "Read members back",
  "list.take_back": "Take changes of another list back",
  "store.pages_missing": "Found that pages are missing",
  "user.erased": "Erased a user",
};

// `account.pause` as people say it.
export function actionName(action) {
  if (ACTIONS[action]) return ACTIONS[action];
  const [on, what] = action.replaceAll("_", " ").split(".");
  return sentence(what ? `${what} ${on}` : on).slice(0, -1);
}

// `no_such_contact` as people say it.
export const reasonName = (reason) => sentence(reason.replaceAll("_", " ").replace(/^http\b/, "HTTP")).slice(0, -1);

// The person, without the name of Cordial's key where that is the usual one.
export const person = (contact) => contact.replace(/^email:/, "");

export const LIST_STANDING = {
  held: ["Held", "bad"],
  differs: ["Differs from Cordial", "bad"],
  incomplete: ["Incomplete", "bad"],
  sync_held: ["Sync held", "warn"],
  to_approve: ["To approve", "warn"],
  not_created: ["Not created yet", "warn"],
  sending: ["Sending", "busy"],
  tried_again_later: ["Tried again later", "warn"],
  receiving: ["Receiving", "busy"],
  not_counted: ["Not counted yet", "busy"],
  exact: ["Exact", "good"],
};

// No page has come for an hour.
const PAGES_MISSING = ["Pages missing", "warn"];

export const failureState = ({ dead }) => (dead ? ["Waits for a retry", "bad"] : LIST_STANDING.tried_again_later);

const ACCOUNT_STANDING = {
  store_trouble: ["Store cannot write", "bad"],
  stopped: ["Stopped", "bad"],
  paused: ["Paused", "warn"],
  slowed: ["Slowed by Cordial", "warn"],
  dry_run: ["Dry run", "warn"],
  sending: ["Sending", "good"],
  in_a_file: ["In a file", "busy"],
  waits_for_a_file: ["Waits for a file", "busy"],
  waiting: ["Waiting", "busy"],
  ready: ["Ready", "good"],
  not_configured: ["Not configured", "warn"],
};

// The worst first.
const standings = Object.keys(ACCOUNT_STANDING);

export const troubleFirst = (accounts) => [...accounts].sort((one, other) => standings.indexOf(one.standing) - standings.indexOf(other.standing));

// A list's changes travel as a file, or will.
const LIST_TRAVEL = { sending: ACCOUNT_STANDING.in_a_file, waiting: ACCOUNT_STANDING.waits_for_a_file };

// What is said of a list: its standing, unless its account keeps it from being sent, or from being sent soon.
export function listState(list, account) {
  const moves = ["sending", "tried_again_later", "not_created"].includes(list.standing);
  if (moves && account && isKeptBack(account)) return accountState(account);
  if (list.pages_overdue) return PAGES_MISSING;
  if (list.standing === "sending" && list.import_state) return LIST_TRAVEL[list.import_state];
  return moves && account?.standing === "slowed" ? ACCOUNT_STANDING.slowed : LIST_STANDING[list.standing];
}

export const isKeptBack = ({ standing }) => ["store_trouble", "stopped", "paused", "dry_run", "not_configured"].includes(standing);

export const accountState = ({ standing }) => ACCOUNT_STANDING[standing];

// Texts of the service have moments as a terminal shows them, in UTC; on the page all are in the form and time zone of the page.
export const inTimeOfPage = (text, told = momentText) =>
  text.replace(/(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC/g, (_, day, time) => told(new Date(`${day}T${time}Z`)));

// The state of a badge within a text.
export const within = ([text]) => `${text[0].toLowerCase()}${text.slice(1)}`;

// A status of HTTP is told once, and not as the code of a reason.
const withStatus = (text) => text.replace(/\bhttp_(\d+): HTTP \1/g, "HTTP $1").replace(/\bhttp_(\d+)/g, "HTTP $1");

// A text from the service as a sentence.
export function sentence(text) {
  if (!text) return "";
  const words = withStatus(inTimeOfPage(text));
  return `${words[0].toUpperCase()}${words.slice(1)}${/[.!?]$/.test(words) ? "" : "."}`;
}

export const MEMBER_STATE = {
  never_named: ["Heap never named this user", "warn"],
  settled: ["Confirmed by Cordial", "good"],
  pending: ["To be sent", "busy"],
  waiting: LIST_STANDING.tried_again_later,
  dead: ["Could not be added or removed", "bad"],
};

// Why a user cannot be synced.
export const UNUSABLE = {
  not_an_object: "not an object",
  missing: "no id",
  null: "null",
  boolean: "true or false",
  object: "an object",
  list: "a list",
  empty: "empty",
  placeholder: "stands for no value",
  too_long: "too long",
  control_characters: "control characters",
  broken_text: "broken text",
};

export const SEVERITY = { critical: ["Critical", "bad"], warning: ["Warning", "warn"], info: ["Information", "busy"] };

// How far a sync has arrived, whatever has been sent of it.
export function arrivalState(sync) {
  if (sync.pages_received >= sync.total_pages) return [plural(sync.total_pages, "page"), "good"];
  return sync.pages_overdue
    ? [`${count(sync.total_pages - sync.pages_received)} of ${plural(sync.total_pages, "page")} missing`, "warn"]
    : [`Receiving (${sync.pages_received} of ${sync.total_pages} pages)`, "busy"];
}

// What became of the part of a sync that has arrived.
export function sendingState(sync, account) {
  if (sync.state !== "receiving") return syncState(sync, account);
  if (sync.pending + sync.unfolded_pieces) return syncState({ ...sync, state: "sending" }, account);
  if (!sync.pages_overdue) return ["Waiting for pages", "busy"];
  return syncState({ ...sync, state: sync.failed ? "failed" : "done" }, account);
}

// What an account's changes do now, said of a sync or list of it.
export function syncState(sync, account) {
  if (sync.state === "held") return ["Held", "warn"];
  if (sync.state === "discarded") return ["Discarded", "warn"];
  if (sync.state === "queued") return ["Queued", "busy"];
  if (sync.state === "receiving") return arrivalState(sync);
  if (sync.state === "searching") return ["Looking for refused rows", "warn"];
  if (sync.state === "done") return ["Done", "good"];
  if (sync.state === "failed") return ["Done, with failures", "bad"];
  if (sync.list_held) return sync.awaits_approval ? LIST_STANDING.to_approve : ["List held", "warn"];
  if (account && isKeptBack(account)) return accountState(account);
  if (sync.next_attempt_at) return [new Date(sync.next_attempt_at) > new Date() ? `Tried again at ${clock(new Date(sync.next_attempt_at))}` : "Tried again soon", "warn"];
  if (sync.import_state) return LIST_TRAVEL[sync.import_state];
  if (account?.standing === "slowed") return ACCOUNT_STANDING.slowed;
  return sync.settled + sync.failed > 0 ? ["Sending", "busy"] : ["Waiting", "busy"];
}
