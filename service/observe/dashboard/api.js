// The service's API. The browser sends the session's cookie by itself; no script ever holds the key.

export const ROOT = "api/v1";

export class ApiError extends Error {
  // `isAnswer`: the service itself says so, and not a proxy before it, or nobody.
  constructor(status, message, isAnswer = false) {
    super(message);
    this.status = status;
    this.isAnswer = isAnswer;
  }
}

async function request(path, options = {}) {
  // The header tells the service that a script asks, which shows the way in itself.
  const headers = { "X-Requested-With": "heap-cordial", ...options.headers };
  const answer = { credentials: "same-origin", cache: "no-store", ...options, headers };
  const response = await fetch(`${ROOT}/${path}`, answer).catch(() => {
    throw new ApiError(0, "The service cannot be reached.");
  });
  const body = await response.json().catch(() => null);
  if (!response.ok) {
    const said = body?.error?.message;
    throw new ApiError(response.status, said ?? `The service cannot be reached: something before it answers ${response.status}.`, said !== undefined);
  }
  return body;
}

export const get = (path) => request(path);

export const post = (path, body = {}, headers = {}) =>
  request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body),
  });

// An address with what is not empty as its query.
export function withQuery(path, query) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

export function signIn(key) {
  // A key may hold any character; btoa takes bytes.
  const bytes = new TextEncoder().encode(`${key}:`);
  const encoded = btoa(String.fromCharCode(...bytes));
  return post("session", {}, { Authorization: `Basic ${encoded}` });
}
