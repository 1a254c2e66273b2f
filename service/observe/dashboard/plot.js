// Calls per second and backlog over the last hour, as one drawing; the figures stand beside it in words.

import { byId, element } from "./dom.js";
import { count, duration } from "./words.js";

const NS = "http://www.w3.org/2000/svg";
const WIDTH = 600;
const HEIGHT = 140;
const HOUR_MS = 3600000;
const LEAST_SPAN_MS = 120000;

function shape(name, attributes) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function line(samples, valueOf, highest, { now, span }) {
  return samples
    .map((sample) => {
      const x = WIDTH * (1 - (now - new Date(sample.at)) / span);
      const y = HEIGHT - (HEIGHT - 6) * (highest ? valueOf(sample) / highest : 0);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    })
    .join(" ");
}

function key(name, text) {
  return element("span", { className: `key ${name}`, text });
}

export function showPlot(history) {
  const figure = byId("plot");
  const now = Date.now();
  const recent = history.samples
    .filter((sample) => now - new Date(sample.at) < HOUR_MS);
  if (recent.length < 2) {
    figure.replaceChildren(element("p", { className: "hint", text: "The plot begins a few seconds after the start." }));
    return;
  }
  const time = { now, span: Math.max(LEAST_SPAN_MS, now - new Date(recent[0].at)) };
  const fastest = Math.max(...recent.map((sample) => sample.calls_per_second));
  const largest = Math.max(...recent.map((sample) => sample.backlog));
  const last = recent[recent.length - 1];
  const label = `Calls per second: now ${last.calls_per_second.toFixed(1)}, at most ${fastest.toFixed(1)}. `
    + `Backlog: now ${count(last.backlog)}, at most ${count(largest)}.`;
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label, preserveAspectRatio: "none" });
  for (const share of [0.25, 0.5, 0.75]) {
    svg.append(shape("line", { x1: 0, x2: WIDTH, y1: HEIGHT * share, y2: HEIGHT * share, class: "grid" }));
  }
  svg.append(shape("polyline", { points: line(recent, (sample) => sample.backlog, largest, time), class: "backlog" }));
  svg.append(shape("polyline", { points: line(recent, (sample) => sample.calls_per_second, fastest, time), class: "calls" }));
  figure.replaceChildren(
    svg,
    element(
      "figcaption",
      {},
      key("calls", `Calls per second, at most ${fastest.toFixed(1)}`),
      key("backlog", `Backlog, at most ${count(largest)}`),
      element("span", { className: "hint", text: `the last ${duration(time.span / 1000)}` }),
    ),
  );
}
