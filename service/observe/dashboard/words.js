// Figures, times and names as people read them. One word for one thing.

const numbers = new Intl.NumberFormat("en");

export const count = (value) => numbers.format(value);

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export const people = (number) => plural(number, "person", "people");

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

export const ago = (moment, now = Date.now()) => {
  const seconds = (now - new Date(moment)) / 1000;
  return seconds < 5 ? "just now" : `${duration(Math.max(1, seconds))} ago`;
};

const moments = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export const momentText = (moment) => moments.format(new Date(moment));

export const timeZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;

// The person, without the name of Cordial's key where that is the usual one.
export const person = (contact) => contact.replace(/^email:/, "");

export const LIST_STANDING = {
  held: ["Held", "bad"],
  incomplete: ["Incomplete", "bad"],
  differs: ["Differs from Cordial", "bad"],
  sync_held: ["Sync held", "warn"],
  to_approve: ["To approve", "warn"],
  not_created: ["Not created yet", "warn"],
  sending: ["Sending", "busy"],
  receiving: ["Pages missing", "busy"],
  not_counted: ["Not counted yet", "busy"],
  exact: ["Exact", "good"],
};

export const ACCOUNT_STATE = {
  sending: ["Sending", "good"],
  slowed: ["Slowed by Cordial", "warn"],
  paused: ["Stopped", "bad"],
  paused_by_operator: ["Paused by a person", "warn"],
  dry_run: ["Dry run", "warn"],
  not_configured: ["Not configured", "warn"],
};

export const MEMBER_STATE = {
  never_named: ["Heap never named this user", "warn"],
  settled: ["Confirmed by Cordial", "good"],
  pending: ["To be sent", "busy"],
  waiting: ["Sent again later", "warn"],
  dead: ["Could not be added or removed", "bad"],
};

export const SEVERITY = { critical: ["Critical", "bad"], warning: ["Warning", "warn"], info: ["Information", "busy"] };

// What an account's changes do now, said of a sync or list of it.
export function syncState(sync, account) {
  if (sync.state === "held") return ["Held", "warn"];
  if (sync.state === "discarded") return ["Discarded", "warn"];
  if (sync.state === "queued") return ["Queued", "busy"];
  if (sync.state === "receiving") return [`Receiving (${sync.pages_received} of ${sync.total_pages} pages)`, "busy"];
  if (sync.state === "done") return ["Done", "good"];
  if (sync.state === "failed") return ["Done, with failures", "bad"];
  if (sync.is_held) return ["Held", "warn"];
  if (account?.state === "paused_by_operator") return ["Paused", "warn"];
  if (account?.state === "paused") return ["Stopped", "bad"];
  if (account?.state === "dry_run") return ["Dry run", "warn"];
  if (account?.state === "not_configured") return ["Not configured", "warn"];
  return sync.settled + sync.failed > 0 ? ["Sending", "busy"] : ["Waiting", "busy"];
}
