// The runbook, docs/operations.md, as the service brings it along: part by part, and as much of Markdown as it uses.

import { html, useEffect, useState } from "./vendor/preact-htm.js";
import { Code, Link, Section, Table, Title, Trouble, Waiting, Words } from "./ui.js";
import { sentence } from "./words.js";

const anchorOf = (heading) => heading.toLowerCase().replaceAll(/[^a-z0-9 _-]/g, "").replaceAll(" ", "-");

// Parts by their anchors: {title, lines}. A part of the third level is one of its own.
function partsOf(text) {
  const parts = new Map();
  let part = { lines: [] };
  for (const line of text.split("\n")) {
    const [, title] = /^#{1,3} (.*)$/.exec(line) ?? [];
    if (title) {
      part = { title, lines: [] };
      parts.set(anchorOf(title), part);
    } else if (!line.startsWith("<!--")) part.lines.push(line);
  }
  return parts;
}

const INLINE = /\*\*(.+?)\*\*|\*(.+?)\*|`(.+?)`|\[(.+?)\]\((.+?)\)/gs;

// Other documents are not here: where they are is said.
const otherDocument = (label, to) => {
  const place = `docs/${to.split("#")[0]}`;
  return `docs/${label}` === place ? place : html`${inline(label)} (${place})`;
};


function inline(text) {
  const nodes = [];
  let end = 0;
  for (const found of text.matchAll(INLINE)) {
    const [whole, strong, emphasis, code, label, to] = found;
    nodes.push(text.slice(end, found.index));
    if (strong) nodes.push(html`<strong>${inline(strong)}</strong>`);
    else if (emphasis) nodes.push(html`<em>${inline(emphasis)}</em>`);
    else if (code) nodes.push(html`<${Code} text=${code} />`);
    else nodes.push(to.startsWith("#") ? html`<${Link} to=${`runbook/${to.slice(1)}`}>${inline(label)}<//>` : otherDocument(label, to));
    end = found.index + whole.length;
  }
  nodes.push(text.slice(end));
  return nodes;
}

const cells = (line) => line.replaceAll(/^\||\|$/g, "").split(/(?<!\\)\|/).map((each) => each.trim());

function Rows({ lines }) {
  const [first, , ...rows] = lines.map(cells);
  const headings = first.map((each) => sentence(each.replaceAll("`", "")).slice(0, -1));
  return html`<${Table} caption=${headings.join(", ")} rows=${rows} keyOf=${(row) => row[0]}
    columns=${headings.map((heading, index) => [heading, (row) => html`<p class="wrap">${inline(row[index])}</p>`])} />`;
}

function Items({ lines, ordered }) {
  const items = [];
  for (const line of lines) {
    if (/^(\d+\.|-) /.test(line)) items.push(line.replace(/^(\d+\.|-) /, ""));
    else items[items.length - 1] += ` ${line.trim()}`;
  }
  const list = items.map((each) => html`<li class="wrap">${inline(each)}</li>`);
  return ordered ? html`<ol>${list}</ol>` : html`<ul>${list}</ul>`;
}

function Block({ lines }) {
  if (lines[0].startsWith("```")) return html`<pre><code><${Words} text=${lines.slice(1, -1).join("\n")} /></code></pre>`;
  if (lines[0].startsWith("|")) return html`<${Rows} lines=${lines} />`;
  if (/^(\d+\.|-) /.test(lines[0])) return html`<${Items} lines=${lines} ordered=${/^\d/.test(lines[0])} />`;
  return html`<p class="wrap">${inline(lines.join(" "))}</p>`;
}

function blocksOf(lines) {
  const blocks = [];
  let block = [];
  let isCode = false;
  for (const line of [...lines, ""]) {
    if (line.startsWith("```")) isCode = !isCode;
    if (line || isCode) block.push(line);
    else if (block.length) {
      blocks.push(block);
      block = [];
    }
  }
  return blocks;
}

const Part = ({ part }) => html`<div class="runbook">${blocksOf(part.lines).map((lines) => html`<${Block} lines=${lines} />`)}</div>`;

let reading = null;

export function useRunbook() {
  const [state, setState] = useState({});
  useEffect(() => {
    reading ??= fetch("page/operations.md").then((answer) => (answer.ok ? answer.text() : Promise.reject(new Error("The runbook cannot be read."))));
    reading.then((text) => setState({ parts: partsOf(text) })).catch((error) => {
      reading = null;
      setState({ error });
    });
  }, []);
  return state;
}

// The part that explains a condition: that of the condition itself names it.
export function PartOfCondition({ id, runbook: { parts, error } }) {
  const [, anchor] = /More: \[.*?\]\(#(.*?)\)/.exec(parts?.get(id)?.lines.join(" ") ?? "") ?? [];
  const part = parts?.get(anchor);
  if (!part) return html`<${Trouble} error=${error} />`;
  return html`<${Section} title=${`Runbook: ${part.title}`} id="runbook-heading" actions=${html`<${Link} to=${`runbook/${anchor}`}>On its own<//>`}>
    <${Part} part=${part} /><//>`;
}

export function Runbook({ anchor }) {
  const { parts, error } = useRunbook();
  const part = parts?.get(anchor) ?? parts?.values().next().value;
  if (!part) return html`<${Title} text="Runbook" />${error ? html`<${Trouble} error=${error} />` : html`<${Waiting} />`}`;
  return html`<${Title} text=${part.title} /><section class="card"><${Part} part=${part} /></section>
    ${parts.has(anchor) && html`<p><${Link} to="runbook">The whole runbook<//></p>`}`;
}
