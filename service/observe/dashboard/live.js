// What is shown stays current: an event says that something changed, then what is shown is read again, one address a
// second at most. A hidden tab asks for nothing.

import { useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { ApiError, ROOT, ask, get } from "./api.js";

const PAUSE_MS = 1000;
// What is lost is looked for more often.
const LOST_MS = 5000;
// Without events, ages and times left still move on.
export const IDLE_MS = 15_000;
// A proxy may keep the first word of a stream back.
const PATIENCE_MS = 500;

const resources = new Map();
const watchers = new Set();
let events = null;
let timer = 0;
let queue = [];
// Whether changes are told: without that, what was just read may be news no more. A stream may be open and silent, where
// a proxy keeps it back.
let isHeard = false;
let silence = 0;
// How long the stream may be silent, as it says itself.
let mostSilenceMs = IDLE_MS;
// `updatedAt`: when something was last read.
export const connection = { state: "waiting", updatedAt: 0 };

function tell() {
  for (const watcher of watchers) watcher();
}

function setConnection(state) {
  if (connection.state === state) return;
  connection.state = state;
  tell();
}

// Calls back whenever the connection's state or a resource changes; returns what ends that.
export function onChange(watcher) {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

async function load(key) {
  const resource = resources.get(key);
  if (!resource) return;
  try {
    resource.data = await resource.read();
    resource.error = null;
    resource.readAt = connection.updatedAt = Date.now();
    setConnection(isHeard ? "live" : "asking");
  } catch (error) {
    resource.error = error instanceof ApiError ? error : new ApiError(0, String(error));
    resource.error.readAt = resource.readAt;
    if (resource.error.status === 401) setConnection("signed_out");
    // What the service refuses is said where it was asked; only a service that does not answer is a lost connection.
    if (!resource.error.isAnswer) setConnection("lost");
  }
  for (const listener of resource.listeners) listener();
  tell();
}

async function work() {
  clearTimeout(timer);
  if (document.hidden) return;
  const key = queue.shift();
  if (key !== undefined) await load(key);
  if (!queue.length && connection.state === "lost") setTimeout(refreshAll, LOST_MS);
  timer = setTimeout(work, queue.length ? PAUSE_MS : IDLE_MS);
  if (!queue.length) idle = true;
}

let idle = true;

function refreshAll() {
  const waiting = new Set(queue);
  for (const key of resources.keys()) if (!waiting.has(key)) queue.push(key);
  if (idle) {
    idle = false;
    clearTimeout(timer);
    timer = setTimeout(work, PAUSE_MS);
  }
}

// Reads what is shown again, now: after an action of the person who looks.
export async function refresh() {
  queue = [];
  await Promise.all([...resources.keys()].map(load));
}

function watch() {
  if (events || document.hidden || connection.state === "signed_out") return;
  events = new EventSource(`${ROOT}/events`);
  for (const kind of ["progress", "delivery"]) events.addEventListener(kind, refreshAll);
  for (const kind of ["reset", "progress", "delivery", "alive"]) events.addEventListener(kind, hear);
  events.addEventListener("error", () => {
    noNews();
    // Whether the service is gone, or a proxy has cut a long stream, shows when it is read.
    refreshAll();
    // Browsers try again by themselves, but not after an answer that is no stream: a proxy's 502.
    if (events?.readyState === EventSource.CLOSED) {
      stop();
      setTimeout(watch, 3000);
    }
  });
  listen();
}

function listen() {
  clearTimeout(silence);
  silence = setTimeout(() => {
    // A network that drops what is sent closes nothing.
    stop();
    watch();
    refreshAll();
  }, mostSilenceMs);
}

function hear({ type, data }) {
  if (type === "alive") mostSilenceMs = 2000 * JSON.parse(data).again_in_seconds;
  listen();
  if (isHeard) return;
  isHeard = true;
  // What changed while nobody watched.
  refreshAll();
}

function noNews() {
  isHeard = false;
  if (connection.state === "live") setConnection("waiting");
}

function stop() {
  events?.close();
  events = null;
  clearTimeout(silence);
  noNews();
}

// Ends once changes are told, or cannot be: what is read from then on is not read again before it changes.
function begun() {
  return new Promise((resolve) => {
    if (!events) resolve();
    for (const kind of ["alive", "error"]) events?.addEventListener(kind, resolve, { once: true });
    setTimeout(resolve, PATIENCE_MS);
  });
}

// Begins to watch, before anything is read.
export async function start() {
  watch();
  setInterval(() => {
    if (!document.hidden) refreshAll();
  }, IDLE_MS);
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) {
      stop();
    } else {
      idle = true;
      watch();
    }
  });
  await begun();
}

// Whether some of what a view needs has not come yet. Drawn all at once, nothing pushes anything aside.
export const isReading = (...found) => found.some((each) => !each.data && !each.error);

// What is at an address of the API, or is answered there to a question that no address may hold, kept current while it is
// shown. `data` stays when a later reading fails.
export function useResource(path, question) {
  const [, redraw] = useState(0);
  const key = question === undefined ? path : `${path} ${JSON.stringify(question)}`;
  useEffect(() => {
    if (path === null) return undefined;
    let resource = resources.get(key);
    const listener = () => redraw((n) => n + 1);
    // What is shown elsewhere on the page is read, or being read, already.
    if (!resource) {
      const read = () => (question === undefined ? get(path) : ask(path, question));
      resource = { data: null, error: null, readAt: null, listeners: new Set(), read };
      resources.set(key, resource);
      load(key);
    }
    resource.listeners.add(listener);
    return () => {
      resource.listeners.delete(listener);
      if (!resource.listeners.size) resources.delete(key);
    };
  }, [key]);
  const resource = path === null ? null : resources.get(key);
  // While another page or filter of the same is read, what was there stays, so that nothing jumps. It does not where that
  // cannot be read: it would stand for what was asked for.
  const last = useRef({ base: "", data: null });
  const base = path?.split("?")[0] ?? "";
  if (resource?.data) last.current = { base, data: resource.data };
  const data = resource?.data ?? (last.current.base === base && !resource?.error ? last.current.data : null);
  return { data, error: resource?.error ?? null };
}
