// The service's API, on the credentials that the browser holds for this page.

const ROOT = "api/v1";

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function request(path, options = {}) {
  const response = await fetch(`${ROOT}/${path}`, { credentials: "same-origin", cache: "no-store", ...options });
  const body = await response.json().catch(() => null);
  if (!response.ok) {
    throw new ApiError(response.status, body?.error?.message ?? `the service answered ${response.status}`);
  }
  return body;
}

export const get = (path) => request(path);

export const post = (path, body = {}) =>
  request(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

// Calls `onDeliveries` with what was answered, `onNews` for every event, and `onState` with whether the connection
// stands; the browser reconnects by itself.
export function watch(onDeliveries, onNews, onState) {
  const events = new EventSource(`${ROOT}/events`);
  events.addEventListener("open", () => onState(true));
  events.addEventListener("error", () => onState(false));
  events.addEventListener("delivery", (event) => onDeliveries(JSON.parse(event.data).deliveries));
  for (const kind of ["progress", "delivery", "reset"]) events.addEventListener(kind, onNews);
}
