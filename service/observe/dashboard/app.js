// The dashboard: signing in, the address after # as the view, and what is around every view.

import { html, render, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { get, post, signIn, withQuery } from "./api.js";
import { connection, IDLE_MS, onChange, start, useResource } from "./live.js";
import { Dialog, Link, onTitle, say, setRole, Title, Toast } from "./ui.js";
import { ago, clockOfDay, keyName, sentence, timeZone } from "./words.js";
import { Account } from "./view_account.js";
import { Accounts, Overview } from "./view_overview.js";
import { Activity } from "./view_activity.js";
import { Runbook } from "./runbook.js";
import { Condition, Conditions } from "./view_conditions.js";
import { Import, Imports } from "./view_imports.js";
import { List } from "./view_list.js";
import { Lists } from "./view_lists.js";
import { People, Unusable } from "./view_people.js";
import { Sync, Syncs } from "./view_syncs.js";

const TABS = [
  ["", "Overview"],
  ["lists", "Lists"],
  ["people", "People"],
  ["syncs", "Syncs"],
  ["imports", "Imports"],
  ["activity", "Activity"],
];

// An address that somebody has cut off somewhere leads nowhere, and ends nothing.
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

// #/lists/7?x=y is the view `lists` of 7 with the query {x: "y"}.
function placeNow() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [view = "", id] = path.split("/").map(decoded);
  return { view, id, query: Object.fromEntries(new URLSearchParams(query)) };
}

function go(view, query = {}) {
  const hash = `#/${withQuery(view, query)}`;
  // What a person types into a filter is one step back, not one a letter.
  if (placeNow().view === view.split("?")[0]) {
    history.replaceState(null, "", hash);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else {
    location.hash = hash;
  }
}

function View({ place, service, isLost }) {
  const { view, id, query } = place;
  const given = { query, go, service, isLost };
  switch (view) {
    case "":
      return html`<${Overview} ...${given} />`;
    case "lists":
      return id ? html`<${List} id=${id} key=${id} />` : html`<${Lists} ...${given} />`;
    case "people":
      return html`<${People} ...${given} />`;
    case "unusable":
      return html`<${Unusable} ...${given} />`;
    case "syncs":
      return id ? html`<${Sync} id=${id} key=${id} />` : html`<${Syncs} ...${given} />`;
    case "imports":
      return id ? html`<${Import} id=${id} key=${id} />` : html`<${Imports} ...${given} />`;
    case "accounts":
      return id ? html`<${Account} name=${id} key=${id} service=${service} />` : html`<${Accounts} />`;
    case "conditions":
      return id ? html`<${Condition} id=${id} query=${query} key=${`${id} ${query.account} ${query.subject} ${query.list}`} />` : html`<${Conditions} ...${given} />`;
    case "runbook":
      return html`<${Runbook} anchor=${id} key=${id} />`;
    case "activity":
      return html`<${Activity} ...${given} />`;
    default:
      return html`<${Title} text="There is nothing at this address" /><p><${Link} to="">Overview<//></p>`;
  }
}

// A view below a tab is marked as being in it.
const BELOW = { unusable: "people", conditions: "", accounts: "", runbook: "" };

function currentTab({ view, id }, tab) {
  if (view === tab) return id ? "true" : "page";
  return BELOW[view] === tab ? "true" : undefined;
}

// `asking`: no changes are told, as behind a proxy that keeps the stream back, and what is asked for is answered.
const CONNECTION = { live: "Live", asking: `Updated every ${IDLE_MS / 1000} s`, lost: "Not reachable, trying again", waiting: "Connecting" };

// All tabs of a browser have one session: who signs in or out in one of them is another person in all, with other rights.
const session = new BroadcastChannel("session");
session.onmessage = () => location.reload();

function enterAnew() {
  session.postMessage("");
  location.reload();
}

// What was read before is no news of now. The place is there before it speaks.
const Lost = ({ isLost }) => html`<div role="status" id="lost">${
  isLost &&
  html`<p class="headline" data-tone="bad"><span aria-hidden="true">✕</span> <span>The service does not answer.${
    connection.updatedAt ? ` Nothing is known since ${clockOfDay(connection.updatedAt)}; nothing below is newer.` : " Nothing is known."
  }</span></p>`
}</div>`;

function Connection() {
  const [, redraw] = useState(0);
  useEffect(() => {
    const again = () => redraw((n) => n + 1);
    const timer = setInterval(again, 5000);
    const end = onChange(again);
    return () => {
      clearInterval(timer);
      end();
    };
  }, []);
  const { state, updatedAt } = connection;
  return html`<p class="connection" id="connection" role="status" data-state=${state}>${CONNECTION[state]}</p>
    <p class="hint" id="updated">${updatedAt ? `updated ${ago(updatedAt)}` : ""}</p>`;
}

// The title and the icon tell how it is while another tab is open.
function useTitle(place, isLost) {
  // The overview has them too, beside what it says of them.
  const { data: read } = useResource(place.view === "" ? "overview" : "conditions");
  const last = useRef(null);
  const data = (last.current = read ?? last.current);
  const conditions = data?.conditions ?? data?.items ?? [];
  const kinds = new Set(conditions.filter((each) => each.severity !== "info").map((each) => each.id));
  const number = [...kinds].reduce((sum, kind) => sum + data.numbers[kind], 0);
  const critical = conditions.some((each) => each.severity === "critical");
  const write = () => {
    const heading = document.querySelector("main h1")?.textContent;
    const state = isLost ? "(?) " : number ? `(${number}) ` : "";
    document.title = `${state}${place.view && heading ? `${heading} · ` : ""}heap-cordial`;
    document.getElementById("icon").href = isLost || critical ? "page/icon-alert.svg" : "page/icon.svg";
  };
  // A view learns its heading after what is around it is drawn.
  onTitle(write);
  useEffect(write);
}

// What was pressed may go with what it was about: then the focus is at the heading, not at the top of the page.
function useFocusKept(main) {
  useEffect(() => {
    let focused = null;
    const note = (event) => {
      focused = event.target;
    };
    const look = () => {
      if (!focused || focused.isConnected || document.activeElement !== document.body) return;
      focused = null;
      main.current?.querySelector("h1")?.focus({ preventScroll: true });
    };
    document.addEventListener("focusin", note);
    const end = onChange(() => requestAnimationFrame(look));
    return () => {
      document.removeEventListener("focusin", note);
      end();
    };
  }, []);
}

function Shell({ service, onSignOut }) {
  const [place, setPlace] = useState(placeNow());
  const main = useRef(null);
  const [isLost, setLost] = useState(false);
  useEffect(() => onChange(() => setLost(connection.state === "lost")), []);
  useTitle(place, isLost);
  useFocusKept(main);
  useEffect(() => {
    const move = () =>
      setPlace((before) => {
        const after = placeNow();
        // A new view begins at its heading, for those who see it and for those who hear it.
        if (after.view !== before.view || after.id !== before.id) {
          scrollTo(0, 0);
          setTimeout(() => main.current?.querySelector("h1")?.focus({ preventScroll: true }));
        }
        return after;
      });
    addEventListener("hashchange", move);
    return () => removeEventListener("hashchange", move);
  }, []);
  const skip = (event) => {
    event.preventDefault();
    main.current.querySelector("h1")?.focus();
  };
  return html`
    <a class="skip-link" href="#main" onClick=${skip}>Skip to the content</a>
    <header class="masthead">
      <${Link} to="" class="brand">heap-cordial<//>
      <nav aria-label="Views"><ul>${TABS.map(
        ([to, text]) => html`<li><${Link} to=${to} aria-current=${currentTab(place, to)}>${text}<//></li>`,
      )}</ul></nav>
      <div class="status"><${Connection} /></div>
    </header>
    <${Lost} isLost=${isLost} />
    <main ref=${main} id="main" data-stale=${isLost ? "true" : undefined}><${View} place=${place} service=${service} isLost=${isLost} /></main>
    <footer class="hint">
      <span>Version ${service.version}</span><span>Times in ${timeZone()}</span><span title=${service.key.name}>${keyName(service.key.name)} (${service.key.role})</span>
      <a href="docs">API</a><button type="button" class="small" onClick=${onSignOut}>Sign out</button>
    </footer>`;
}

function SignIn({ onSignedIn, message }) {
  const [error, setError] = useState(message);
  const submit = async (event) => {
    event.preventDefault();
    try {
      await signIn(new FormData(event.target).get("key"));
      onSignedIn();
    } catch (failed) {
      setError(sentence(failed.message));
    }
  };
  return html`<main class="sign-in"><form class="card" onSubmit=${submit}>
    <h1>heap-cordial</h1>
    <p>Sign in with an API key. It is in the file that <code>api_key_file</code> in the configuration names.</p>
    <label class="field"><span>API key</span><input type="password" name="key" required autocomplete="current-password" autofocus /></label>
    <p class="trouble" role="alert">${error}</p>
    <button type="submit" class="primary">Sign in</button>
  </form></main>`;
}

function App() {
  const [service, setService] = useState(null);
  const [refused, setRefused] = useState(null);
  const enter = async () => {
    try {
      const found = await get("service");
      setRole(found.key.role);
      const here = new URL(".", location.href.split("#")[0]).href.replace(/\/$/, "");
      const webhooks = found.accounts.map(({ name, public_url: known }) => ({
        account: name,
        url: `${known || here}/webhooks/heap/${encodeURIComponent(name)}`,
        is_known: Boolean(known),
      }));
      await start();
      setService({ ...found, webhooks });
    } catch (error) {
      setRefused(error.status === 401 ? "" : error.message);
      if (error.status !== 401) setTimeout(enter, 3000);
    }
  };
  useEffect(() => {
    enter();
    return onChange(() => {
      if (connection.state !== "signed_out") return;
      setService(null);
      setRefused("You are signed out: the session is over, or the key was replaced.");
    });
  }, []);
  const signOut = async () => {
    try {
      await post("session/end");
    } catch (error) {
      // Who leaves this page is not to believe that it is closed.
      if (error.status !== 401) return say(`You may not be signed out. ${sentence(error.message)}`, "bad");
    }
    return enterAnew();
  };
  let view = null;
  if (service) view = html`<${Shell} service=${service} onSignOut=${signOut} />`;
  else if (refused !== null) view = html`<${SignIn} message=${refused} onSignedIn=${enterAnew} />`;
  else view = html`<main><p class="hint" role="status">Connecting…</p></main>`;
  return html`${view}<${Toast} /><${Dialog} />`;
}

render(html`<${App} />`, document.getElementById("app"));
