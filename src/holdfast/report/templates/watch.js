"use strict";
// Asks for state.json every other second. What it says is shown as text alone, never as markup.

const SECONDS = 2;
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) {
    made.textContent = text;
    made.dir = "auto";
    made.classList.add("data");
  }
  return made;
}

function drawn(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function job({ label, at, of }) {
  const made = make("div", "job"), bar = make("div", "bar"), part = make("i");
  part.style.width = of ? `${Math.min(100, (100 * at) / of)}%` : "0";
  bar.append(part);
  made.append(make("span", "", label), bar, make("span", "count", of ? `${at} of ${of}` : `${at}`));
  return made;
}

/** Three digits, no powers of ten for what is large, and a true minus. */
function number(value) {
  return (Math.abs(value) < 999.5 ? value.toPrecision(3) : value.toFixed(0)).replaceAll("-", "−");
}

/** A line through the points, from 0 or the least to the most; a stroke where a stage begins. */
function curve({ run, name, points, starts }) {
  const made = make("div", "curve"), title = make("h3", "", `${run} · ${name}`);
  const values = points.map(([, value]) => value), last = points.at(-1);
  const low = Math.min(0, ...values), high = Math.max(...values), right = Math.max(1, last[0]);
  const x = (step) => (100 * step) / right, y = (value) => 96 - (92 * (value - low)) / (high - low || 1);
  const svg = drawn("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img" });
  svg.setAttribute("aria-label", `${run}, ${name}: ${number(last[1])} at step ${last[0] + 1}`);
  svg.append(...starts.map((step) => drawn("line", { x1: x(step), x2: x(step), y1: 0, y2: 100 })));
  const line = points.length > 1 ? points : [last, last]; // one point is a dot
  svg.append(drawn("polyline", {
    class: points.length > 1 ? "" : "dot", points: line.map(([step, value]) => `${x(step)},${y(value)}`).join(" "),
  }));
  title.append(make("b", "", number(last[1])));
  made.append(title, svg);
  return made;
}

function answer({ id, prompt, response, reference, right }) {
  const made = make("div", "sample"), asked = make("p", "", prompt), about = make("span", "id");
  about.append(" · answer ", make("b", "", reference), " · ", make("span", "", id));
  asked.append(about);
  const said = make("div", `said ${right ? "right" : "wrong"}`, response || "(nothing)"), box = make("div", "answers");
  box.append(said);
  made.append(asked, box);
  return made;
}

function show(state) {
  const share = state.total ? (100 * state.done) / state.total : 100;
  const how = state.ended ? "The run has ended." : !state.at_work ? "No process is at work on it; waiting for one."
    : state.done < state.total ? "At work." : "Writing the report.";
  $("said").textContent = `${how} ${state.done} of ${state.total} jobs are done.`;
  $("whole").style.width = `${share}%`;
  $("jobs").replaceChildren(...state.jobs.map(job));
  $("report").hidden = !state.report;
  // Nobody answers here any more: what is left lies on the disk.
  if (state.ended) $("links").replaceChildren(...(state.report ? ["Its report: ", make("code", "", state.report)] : []));
  $("failures-section").hidden = !state.failures.length;
  $("failures").replaceChildren(...state.failures.flatMap(({ label, message }) => [make("dt", "", label), make("dd", "", message)]));
  $("curves").replaceChildren(...state.curves.map(curve));
  $("of").textContent = state.answers.length ? state.answers[0].label : "None yet.";
  $("answers").replaceChildren(...state.answers.map(answer));
}

async function ask() {
  try {
    const answer = await fetch("state.json");
    if (!answer.ok) throw new Error(answer.statusText);
    const state = await answer.json();
    show(state);
    if (state.ended) return;
  } catch {
    $("said").textContent = "The watch does not answer: it was stopped, or the run has ended.";
  }
  setTimeout(ask, SECONDS * 1000);
}

ask();
