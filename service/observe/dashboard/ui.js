// The parts that every view is made of.

import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { ask, get, withQuery } from "./api.js";
import { refresh, useResource } from "./live.js";
import { ago, clockOfDay, count, inTimeOfPage, momentText, rate, sentence } from "./words.js";

const ROLES = ["read", "operate", "admin"];
let role = "read";

export const setRole = (given) => {
  role = given;
};
export const may = (needed) => ROLES.indexOf(role) >= ROLES.indexOf(needed);

// Said where a button would be for others.
export const Needs = ({ what, role: needed = "operate" }) =>
  may(needed) ? null : html`<p class="hint">${what} needs an API key with the role ${needed}.</p>`;

// The toast is there before it speaks, so that screen readers hear it.
let showToast = () => undefined;

export function say(text, tone = "good") {
  showToast({ text, tone, at: Date.now() });
}

export function Toast() {
  const [toast, setToast] = useState(null);
  useEffect(() => {
    showToast = setToast;
  }, []);
  useEffect(() => {
    if (!toast) return undefined;
    const timer = setTimeout(() => setToast(null), 10_000);
    return () => clearTimeout(timer);
  }, [toast]);
  return html`<div class="toast-place" role="status" aria-live="polite">
    ${toast && html`<p class="toast" id="toast" data-tone=${toast.tone}><${InCode} text=${inTimeOfPage(toast.text)} /></p>`}
  </div>`;
}

// Does something and says what came of it; `words` is a sentence, or makes one of the answer, and a tone where it is not good.
export async function act(work, words) {
  try {
    const done = await work();
    say(...[typeof words === "function" ? words(done) : words].flat());
  } catch (error) {
    say(sentence(error.message), "bad");
  }
  await refresh();
}

export function Button({ text, label, onClick, primary = false, needs = "operate", small = false }) {
  const [busy, setBusy] = useState(false);
  if (!may(needs)) return null;
  const press = async () => {
    setBusy(true);
    try {
      await onClick();
    } finally {
      setBusy(false);
    }
  };
  // The name that is read out begins with the words that are seen.
  return html`<button type="button" class=${`${primary ? "primary" : ""} ${small ? "small" : ""}`} aria-label=${label}
    aria-disabled=${busy} onClick=${busy ? undefined : press}>${text}</button>`;
}

export const Link = ({ to, children, ...more }) => html`<a href=${`#/${to}`} ...${more}>${children}</a>`;

// A name that is too long for its place is cut; the whole of it is in the title.
export const Name = ({ text, title = text }) => html`<span class="cut" title=${title}>${text}</span>`;

// An address, broken between its parts.
export const Address = ({ url }) => url.split(/(?<=[^:/]\/)/).map((part) => html`${part}<wbr />`);

// What is typed is broken between its words, and not at a hyphen.
export const Words = ({ text }) => text.split(/(\s+)/).map((part) => (part.includes("-") ? html`<span class="word">${part}</span>` : part));

export const Code = ({ text }) => html`<code class="code"><${Words} text=${text} /></code>`;

// What the service puts between backticks is for a terminal.
const InCode = ({ text }) => text.split("`").map((part, index) => (index % 2 ? html`<${Code} text=${part} />` : part));

// What the service says, as a sentence.
export const Prose = ({ text }) => html`<${InCode} text=${sentence(text)} />`;

const MARKS = { good: "✓", bad: "✕", warn: "!", busy: "•" };

export const Badge = ({ of: [text, tone] }) =>
  html`<span class="badge" data-tone=${tone}><span aria-hidden="true">${MARKS[tone]}</span> ${text}</span>`;

export const Time = ({ at, empty = "–" }) =>
  at ? html`<time datetime=${at} title=${momentText(at)}>${ago(at)}</time>` : html`<span>${empty}</span>`;

// When it was to the second, where what happened is looked up later.
export const Moment = ({ at }) => html`<time datetime=${at} title=${ago(at)}>${momentText(at)}</time>`;

export const Since = ({ at }) => html`${momentText(at)} (<${Time} at=${at} />)`;

// With a place to go to, the whole field is the link.
export const Figure = ({ name, value, hint, tone, to }) => html`<div class="figure" data-link=${to === undefined ? undefined : "true"}>
  <dt>${name}</dt>
  <dd data-tone=${tone}>${to === undefined ? value : html`<${Link} to=${to} class="cover" aria-label=${`${name}: ${value}`}>${value}<//>`}</dd>
  ${hint && html`<dd class="hint">${hint}</dd>`}
</div>`;

// Who is told that a heading was drawn.
let whenTitled = () => undefined;

export const onTitle = (told) => {
  whenTitled = told;
};

// Every view begins with one, and keeps it while it is read: who came to the heading stays there.
export function Title({ text, badge, unseen = false, children }) {
  useEffect(() => whenTitled());
  return html`<div class=${unseen ? "unseen" : "title"}><h1 tabindex="-1">${text}</h1>
  ${badge && html`<${Badge} of=${badge} />`}<span class="buttons">${children}</span></div>`;
}

export const Figures = ({ label, children }) => html`<dl class="figures" aria-label=${label}>${children}</dl>`;

// Done, failed and left of a whole, told in words as well.
export function Bar({ done, failed = 0, total, label }) {
  const share = (number) => (total > 0 ? Math.min(100, (100 * number) / total) : 0);
  const text = `${count(done)} of ${count(total)} done${failed ? `, ${count(failed)} failed` : ""}`;
  const ref = useRef(null);
  useEffect(() => {
    // The page's rules forbid styles in its text; set by the script they are allowed.
    ref.current.children[0].style.inlineSize = `${share(done)}%`;
    ref.current.children[1].style.inlineSize = `${share(failed)}%`;
  });
  return html`<div class="bar" role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax="100"
    aria-valuenow=${Math.round(share(done + failed))} aria-valuetext=${text} ref=${ref}><i class="done"></i><i class="failed"></i></div>`;
}

export const Rates = ({ settled, failed }) => {
  const parts = [`${rate(settled)} confirmed a second`];
  if (failed > 0) parts.push(`refused or failed ${rate(failed)} a second`);
  return html`${parts.join(" · ")}`;
};

export const Section = ({ title, id, actions, children, hint }) => html`<section class="card" aria-labelledby=${id}>
  <header class="card-head"><h2 id=${id}>${title}</h2>${actions}</header>
  ${hint && html`<p class="hint">${hint}</p>`}${children}
</section>`;

// The order of a table is a part of its address: {sort, reverse, to}, where `to` makes the address of another order.
export const orderOf = (view, query) => ({
  sort: query.sort ?? "trouble",
  reverse: query.reverse === "true",
  to: (sort, reverse) => {
    const { after: _, sort: _sort, reverse: _reverse, ...kept } = query;
    return withQuery(view, { ...kept, sort: sort === "trouble" ? "" : sort, reverse: reverse || "" });
  },
});

// A column sorts by `kind.sort`: texts from A, all else from the most. Once more turns it round where that is of use, else
// it brings back the trouble to the top.
function Heading({ text, kind, order }) {
  const className = kind.number ? "number" : "";
  if (kind.unseen) return html`<th scope="col"><span class="unseen">${text}</span></th>`;
  if (!order || !kind.sort) return html`<th scope="col" class=${className}>${text}</th>`;
  const isSorted = order.sort === kind.sort;
  const ascending = isSorted && Boolean(kind.text) !== order.reverse;
  const [sort, reverse] = !isSorted ? [kind.sort, false] : kind.bothWays && !order.reverse ? [kind.sort, true] : ["trouble", false];
  const mark = html`<span aria-hidden="true" class="direction">${isSorted ? (ascending ? "▲" : "▼") : null}</span>`;
  return html`<th scope="col" class=${className} aria-sort=${isSorted ? (ascending ? "ascending" : "descending") : undefined}>
    <${Link} to=${order.to(sort, reverse)} class="sort">${kind.number ? [mark, text] : [text, mark]}<//></th>`;
}

// On a narrow screen there are no headings to press.
export const Order = ({ columns, order, go, narrow = true, more = [] }) =>
  html`<${Choice} label="Order" narrow=${narrow} value=${order.sort}
    options=${[...columns.filter(([, , kind]) => kind?.sort).map(([heading, , kind]) => [kind.sort, kind.sort === "trouble" ? "Trouble first" : heading]), ...more]}
    onChange=${(sort) => go(order.to(sort, false))} />`;

// `columns`: [heading, cell, {number, wide, badge, sort, text, bothWays, isIdle}]; on a narrow screen each row is a small card
// with its headings, without the figures of which `isIdle` says that they are no news.
export function Table({ caption, columns, rows, keyOf, empty, id, order }) {
  if (!rows.length) return html`<p class="hint">${empty}</p>`;
  return html`<div class="scroller" tabindex="0" role="region" aria-label=${`${caption}, table`}>
    <table class="stack">
      <caption class="unseen">${caption}</caption>
      <thead><tr>${columns.map(
        ([heading, , kind = {}]) => html`<${Heading} key=${heading} text=${heading} kind=${kind} order=${order} />`,
      )}</tr></thead>
      <tbody id=${id}>${rows.map(
        (row) =>
          html`<tr key=${keyOf(row)}>${columns.map(
            ([heading, cell, kind = {}]) =>
              html`<td class=${`${kind.number ? "number" : ""} ${kind.wide ? "whole" : ""} ${kind.badge ? "roomy" : ""} ${kind.isIdle?.(row) ? "idle" : ""}`}
                data-label=${kind.unseen || kind.wide ? undefined : heading}>${cell(row)}</td>`,
          )}</tr>`,
      )}</tbody>
    </table>
  </div>`;
}

// What could not be read, and of when what is still shown is. That nobody answers is said above every view.
export function Trouble({ error }) {
  if (!error || (error.readAt && !error.isAnswer)) return null;
  return html`<p class="trouble" role="alert">${sentence(error.message)}${error.readAt ? ` What is shown is of ${clockOfDay(error.readAt)}.` : ""}</p>`;
}

// The list that a view is limited to, by its segment's name as soon as that is read.
export function OfList({ id }) {
  const { data: list } = useResource(`lists/${id}`);
  return html`<${Link} to=${`lists/${id}`}>${list?.segment_name ?? "one list"}<//>`;
}

// What is read at an address that may lead nowhere; from there `to` leads on.
export const NotYet = ({ error, to, text }) => (error ? html`<${Trouble} error=${error} />${error.status === 404 && html`<p><${Link} to=${to}>${text}<//></p>`}` : html`<${Waiting} />`);

export const Waiting = () => html`<p class="hint waiting" role="status">Reading…</p>`;

// Asks before something large; `read` fetches what the person should see first.
let openDialog = () => undefined;

export const confirm = (question) => openDialog(question);

export function Dialog() {
  const [question, setQuestion] = useState(null);
  const [shown, setShown] = useState(null);
  // What should be seen before could not be read: then nothing is done.
  const [isUnread, setUnread] = useState(false);
  const element = useRef(null);
  useEffect(() => {
    openDialog = (given) => {
      setShown(null);
      setUnread(false);
      setQuestion(given);
    };
  }, []);
  useEffect(() => {
    if (!question) return undefined;
    if (!element.current.open) element.current.showModal();
    // What comes late is not shown in the dialog of another question.
    let isAsked = true;
    Promise.resolve(question.read?.())
      .then((found) => isAsked && setShown(question.body?.(found) ?? ""))
      .catch((error) => {
        if (!isAsked) return;
        setShown(html`<p class="trouble" role="alert">${sentence(error.message)}</p>`);
        setUnread(true);
      });
    return () => {
      isAsked = false;
    };
  }, [question]);
  const close = () => element.current.close();
  return html`<dialog ref=${element} aria-labelledby="dialog-title" onClose=${() => setQuestion(null)}>
    ${question &&
    html`<h2 id="dialog-title">${question.title}</h2>
      <div class="dialog-body">${shown ?? html`<${Waiting} />`}</div>
      <div class="buttons">
        ${isUnread && html`<button type="button" class="primary" onClick=${() => openDialog({ ...question })}>Try again</button>`}
        ${question.work && !isUnread &&
        html`<button type="button" class="primary" disabled=${shown === null} onClick=${() => {
          close();
          act(question.work, question.words);
        }}>${question.button}</button>`}
        <button type="button" onClick=${close}>${question.work ? "Cancel" : "Close"}</button>
      </div>`}
  </dialog>`;
}

// Between two pages of a sorted list a row may change its place.
const withoutRepeats = (rows) => [...new Map(rows.map((each) => [each.id, each])).values()];

// What is at an address of the API that answers a page at a time, with as many of them as were asked for.
export function usePaged(path, question) {
  const { data, error } = useResource(path, question);
  const [further, setFurther] = useState({ items: [], next: undefined });
  const reset = () => setFurther({ items: [], next: undefined });
  useEffect(reset, [path, JSON.stringify(question)]);
  const next = further.next === undefined ? data?.next : further.next;
  const more = async () => {
    try {
      const page = await (question === undefined
        ? get(`${path}${path.includes("?") ? "&" : "?"}after=${next}`)
        : ask(path, { ...question, after: next }));
      setFurther((before) => ({ items: [...before.items, ...page.items], next: page.next }));
    } catch (failed) {
      say(sentence(failed.message), "bad");
    }
  };
  return { data, error, items: data && withoutRepeats([...data.items, ...further.items]), next, more, reset };
}

export const More = ({ next, onClick }) =>
  next ? html`<p><${Button} text="Show more" needs="read" onClick=${onClick} /></p>` : null;

// What is typed stays while the page is drawn anew; what comes from the address takes its place.
export function Search({ label, value, onInput, placeholder }) {
  const timer = useRef(0);
  const asked = useRef(value);
  const [typed, setTyped] = useState(value);
  useEffect(() => {
    if (value === asked.current) return;
    asked.current = value;
    setTyped(value);
  }, [value]);
  return html`<label class="field"><span>${label}</span><input type="search" value=${typed} placeholder=${placeholder}
    autocomplete="off" spellcheck=${false} onInput=${(event) => {
      const given = event.target.value;
      setTyped(given);
      clearTimeout(timer.current);
      timer.current = setTimeout(() => {
        asked.current = given.trim();
        onInput(asked.current);
      }, 300);
    }} /></label>`;
}

// Filters of which one is chosen: [name, text, number], null for a number that nobody counts.
export function Chips({ label, items, chosen, to }) {
  const ref = useRef(null);
  // Where there is no room for all of them, the chosen one is seen.
  useEffect(() => {
    const [room, box] = [ref.current, ref.current.querySelector("[aria-current]")].map((each) => each?.getBoundingClientRect());
    if (box) ref.current.scrollLeft += Math.min(0, box.left - room.left) + Math.max(0, box.right - room.right);
  }, [chosen]);
  return html`<nav aria-label=${label}><ul class="chips" ref=${ref}>${items.map(
    ([name, text, number]) => html`<li key=${name}><${Link} to=${to(name)} aria-current=${name === chosen ? "true" : undefined}>${text}${
      number === null ? null : html` <span class="number">${count(number)}</span>`
    }<//></li>`,
  )}</ul></nav>`;
}

export const Choice = ({ label, value, options, onChange, narrow = false }) =>
  html`<label class=${`field ${narrow ? "narrow" : ""}`}><span>${label}</span><select value=${value} onChange=${(event) => onChange(event.target.value)}>
    ${options.map(([name, text]) => html`<option value=${name} selected=${name === value}>${text}</option>`)}
  </select></label>`;

export const Terms = ({ items }) =>
  html`<dl class="terms">${items
    .filter(([, value]) => ![null, undefined, false, ""].includes(value))
    .map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
