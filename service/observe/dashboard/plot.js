// How it went: changes to send, and results a second, over an hour, a day or a week. Two pictures over one time, for people
// and people a second have no common axis.

import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { useResource } from "./live.js";
import { Section } from "./ui.js";
import { clock, clockOnAxis, count, rate } from "./words.js";

const SPANS = {
  hour: { text: "1 h", seconds: 3600, gap: 150, begins: "a few seconds" },
  day: { text: "24 h", seconds: 86_400, gap: 450, begins: "ten minutes" },
  week: { text: "7 d", seconds: 604_800, gap: 2700, begins: "an hour" },
};
const LEAST_SECONDS = 60;
const SERIES = [
  { name: "Changes to send", key: "backlog", text: count, line: "--warn", fill: "--warn-soft", picture: 0 },
  { name: "Confirmed a second", key: "settled_per_second", text: rate, line: "--accent", picture: 1 },
  { name: "Refused or failed a second", key: "failed_per_second", text: rate, line: "--bad", dash: [4, 4], picture: 1 },
];
const HEIGHTS = [150, 130];
// Changes are people: there is no half of one.
const WHOLE = [1, 2, 5].flatMap((digit) => [...Array(9).keys()].map((power) => digit * 10 ** power)).sort((a, b) => a - b);

const colour = (name) => (name ? getComputedStyle(document.documentElement).getPropertyValue(name).trim() : undefined);

// [times, ...values of each series]; where the service did not run there is a gap, and no line that says otherwise.
function columns(samples, gap) {
  const rows = [];
  for (const sample of samples) {
    const at = new Date(sample.at).getTime() / 1000;
    const last = rows[rows.length - 1]?.[0];
    if (last !== undefined && at - last > gap) rows.push([last + 1, ...SERIES.map(() => null)]);
    rows.push([at, ...SERIES.map(({ key }) => sample[key])]);
  }
  return [0, ...SERIES.map((_, index) => index + 1)].map((column) => rows.map((row) => row[column]));
}

function draw(parent, picture, span, data, onHover) {
  const line = colour("--line");
  const font = `12px ${colour("--font")}`;
  const axis = { stroke: colour("--text-quiet"), grid: { stroke: line, width: 1 }, ticks: { show: false }, font };
  const shown = SERIES.filter((each) => each.picture === picture);
  const range = (_, first, last) => [Math.max(last - span.seconds, Math.min(first, last - LEAST_SECONDS)), last];
  return new window.uPlot(
    {
      width: parent.clientWidth,
      height: HEIGHTS[picture],
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, y: false, sync: { key: "history" } },
      scales: { x: { range }, y: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] } },
      axes: [
        { ...axis, space: 110, size: 28, values: (_, all, __, ___, step) => all.map((at) => clockOnAxis(at * 1000, step)) },
        { ...axis, size: 64, space: 28, incrs: picture === 0 ? WHOLE : undefined, values: (_, all) => all.map(shown[0].text) },
      ],
      series: [
        {},
        ...shown.map((each) => ({
          stroke: colour(each.line),
          fill: colour(each.fill),
          width: 2,
          dash: each.dash,
          points: { show: false },
        })),
      ],
      hooks: { setCursor: [(plot) => onHover(plot.cursor.idx ?? null)] },
    },
    part(data, picture),
    parent,
  );
}

// A line at nothing would only lie over the other one.
const showFailed = (plot, data) => plot?.setSeries(2, { show: data[3].some(Boolean) });

const part = (data, picture) => [data[0], ...SERIES.flatMap((each, index) => (each.picture === picture ? [data[index + 1]] : []))];

function summary(samples) {
  if (!samples.length) return "Nothing is recorded yet.";
  const last = samples[samples.length - 1];
  const most = Math.max(...samples.map((sample) => sample.backlog));
  return `Changes to send: ${count(last.backlog)} now, ${count(most)} at most. Confirmed a second: ${rate(last.settled_per_second)} now.`;
}

export function Plot() {
  const [name, setName] = useState("hour");
  const [hover, setHover] = useState(null);
  const span = SPANS[name];
  const { data: history, error } = useResource(`history?span=${name}`);
  const parents = [useRef(null), useRef(null)];
  const plots = useRef([]);
  const samples = history?.samples ?? [];
  const enough = samples.length > 1;
  const data = columns(samples, span.gap);
  const latest = useRef(data);
  latest.current = data;
  useEffect(() => {
    if (!enough || !window.uPlot) return undefined;
    const end = () => plots.current.splice(0).forEach((plot) => plot.destroy());
    const begin = () => {
      end();
      plots.current = parents.map((parent, picture) => draw(parent.current, picture, span, latest.current, setHover));
      showFailed(plots.current[1], latest.current);
    };
    begin();
    const fit = new ResizeObserver(() =>
      plots.current.forEach((plot, picture) => plot.setSize({ width: parents[picture].current.clientWidth, height: HEIGHTS[picture] })),
    );
    fit.observe(parents[0].current);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", begin);
    return () => {
      fit.disconnect();
      scheme.removeEventListener("change", begin);
      end();
    };
  }, [enough, name]);
  useEffect(() => {
    plots.current.forEach((plot, picture) => plot.setData(part(data, picture)));
    showFailed(plots.current[1], data);
  }, [history]);
  const last = data[0].length - 1;
  const shown = hover !== null && hover <= last ? hover : last;
  const choose = html`<div class="segments" role="group" aria-label="How far back">${Object.entries(SPANS).map(
    ([each, { text }]) =>
      html`<button type="button" class="small" aria-pressed=${name === each} onClick=${() => setName(each)}>${text}</button>`,
  )}</div>`;
  return html`<${Section} title="How it went" id="plot-heading" actions=${choose}>
    ${enough
      ? html`<ul class="legend" id="legend">${SERIES.map(
          (each, index) => html`<li key=${each.key}><i class="mark" data-series=${each.key}></i> ${each.name}:${" "}
            <strong>${data[index + 1][shown] === null ? "not known" : each.text(data[index + 1][shown])}</strong></li>`,
        )}<li class="hint">at ${clock(data[0][shown] * 1000)}</li></ul>
        <div class="plot" role="img" aria-label=${summary(samples)}><div ref=${parents[0]}></div><div ref=${parents[1]}></div></div>`
      : html`<div class="plot"><p class="hint">${error ? "Not known now: this could not be read." : `The picture of ${span.text} begins ${span.begins} after the start.`}</p></div>`}
  <//>`;
}
