// How it went: backlog and results a second, over an hour, a day or a week, with axes, units and values on hover.

import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { useResource } from "./live.js";
import { Section } from "./ui.js";
import { count, rate } from "./words.js";

const SPANS = [
  ["hour", "1 h"],
  ["day", "24 h"],
  ["week", "7 d"],
];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function draw(parent, samples) {
  const line = colour("--line");
  const quiet = colour("--text-quiet");
  const axis = { stroke: quiet, grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
  return new window.uPlot(
    {
      width: parent.clientWidth,
      height: 220,
      cursor: { drag: { x: false, y: false } },
      scales: { changes: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] }, speed: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] } },
      axes: [
        { ...axis },
        { ...axis, scale: "changes", label: "changes to send", labelSize: 20, size: 64, values: (_, all) => all.map(count) },
        { ...axis, scale: "speed", side: 1, label: "a second", labelSize: 20, size: 48, grid: { show: false }, values: (_, all) => all.map(rate) },
      ],
      series: [
        {},
        { label: "To send", scale: "changes", stroke: colour("--warn"), fill: colour("--warn-soft"), width: 2, value: (_, value) => (value === null ? "–" : count(value)) },
        { label: "Confirmed a second", scale: "speed", stroke: colour("--accent"), width: 2, value: (_, value) => (value === null ? "–" : rate(value)) },
        { label: "Refused or failed a second", scale: "speed", stroke: colour("--bad"), width: 2, dash: [4, 4], value: (_, value) => (value === null ? "–" : rate(value)) },
      ],
    },
    columns(samples),
    parent,
  );
}

const columns = (samples) => [
  samples.map((sample) => new Date(sample.at).getTime() / 1000),
  samples.map((sample) => sample.backlog),
  samples.map((sample) => sample.settled_per_second),
  samples.map((sample) => sample.failed_per_second),
];

function summary(samples) {
  if (!samples.length) return "Nothing is recorded yet.";
  const last = samples[samples.length - 1];
  const most = Math.max(...samples.map((sample) => sample.backlog));
  return `To send: ${count(last.backlog)} now, ${count(most)} at most. Confirmed a second: ${rate(last.settled_per_second)} now.`;
}

export function Plot() {
  const [span, setSpan] = useState("hour");
  const { data } = useResource(`history?span=${span}`);
  const parent = useRef(null);
  const plot = useRef(null);
  const samples = data?.samples ?? [];
  const enough = samples.length > 1;
  useEffect(() => {
    if (!enough || !window.uPlot) return undefined;
    plot.current = draw(parent.current, samples);
    const fit = new ResizeObserver(() => plot.current?.setSize({ width: parent.current.clientWidth, height: 220 }));
    fit.observe(parent.current);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const again = () => {
      plot.current?.destroy();
      plot.current = draw(parent.current, samples);
    };
    scheme.addEventListener("change", again);
    return () => {
      fit.disconnect();
      scheme.removeEventListener("change", again);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [enough, span]);
  useEffect(() => {
    if (enough) plot.current?.setData(columns(samples));
  }, [data]);
  const choose = html`<div class="segments" role="group" aria-label="How far back">${SPANS.map(
    ([name, text]) =>
      html`<button type="button" class="small" aria-pressed=${span === name} onClick=${() => setSpan(name)}>${text}</button>`,
  )}</div>`;
  return html`<${Section} title="How it went" id="plot-heading" actions=${choose}>
    <div class="plot" ref=${parent} role="img" aria-label=${summary(samples)}>
      ${!enough && html`<p class="hint">The picture begins a few seconds after the start.</p>`}
    </div>
  <//>`;
}
