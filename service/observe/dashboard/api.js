// The service's API. The browser sends the session's cookie by itself; no script ever holds the key.

export const ROOT = "api/v1";

// The service answers questions in seconds. Some actions wait for Cordial.
const QUESTION_MS = 20_000;
const ACTION_MS = 120_000;

export class ApiError extends Error {
  // `isAnswer`: the service itself says so, and not a proxy before it, or nobody.
  constructor(status, message, isAnswer = false) {
    super(message);
    this.status = status;
    this.isAnswer = isAnswer;
  }
}

// Of an action whose answer did not come; the service allows each to be repeated.
const UNKNOWN = " It is not known whether it was done. You can safely do it again.";

async function request(path, options, patience, unknown = "") {
  // The header tells the service that a script asks, which shows the way in itself.
  const headers = { "X-Requested-With": "heap-cordial", ...options.headers };
  // A network that drops what is sent says nothing: without an end, nothing more would be asked.
  const signal = AbortSignal.timeout(patience);
  const answer = { credentials: "same-origin", cache: "no-store", signal, ...options, headers };
  const unanswered = () => {
    throw new ApiError(0, `${signal.aborted ? "No answer came from the service." : "The service cannot be reached."}${unknown}`);
  };
  const response = await fetch(`${ROOT}/${path}`, answer).catch(unanswered);
  const body = await response.json().catch(() => (signal.aborted ? unanswered() : null));
  if (!response.ok) {
    const said = body?.error?.message;
    throw new ApiError(response.status, said ?? `The service cannot be reached: something in front of it answers ${response.status}.${unknown}`, said !== undefined);
  }
  return body;
}

export const get = (path) => request(path, {}, QUESTION_MS);

const sent = (body, headers = {}) => ({
  method: "POST",
  headers: { "Content-Type": "application/json", ...headers },
  body: JSON.stringify(body),
});

// A question that no address may hold.
export const ask = (path, body, headers) => request(path, sent(body, headers), QUESTION_MS);

export const post = (path, body = {}) => request(path, sent(body), ACTION_MS, UNKNOWN);

// An address with what is not empty as its query.
export function withQuery(path, query) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

export function signIn(key) {
  // A key may hold any character; btoa takes bytes.
  const bytes = new TextEncoder().encode(`${key}:`);
  const encoded = btoa(String.fromCharCode(...bytes));
  return ask("session", {}, { Authorization: `Basic ${encoded}` });
}
