"use strict";
// The gallery: filters over columns of marks, and a list that holds the rows in view alone. Everything that
// came from data enters the page as text (textContent) or as a picture's data: address, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const total = data.ids.length;

// Outcomes (of a mark's last two bits; 4 more where it was cut off) and fates, as analysis/ has them.
const RIGHT = 0, CUT = 4, ABSENT = 255;
const OUTCOMES = [
  ["✓", "right", ""],
  ["f", "format", "the right answer stands in the response, but not where it is asked for"],
  ["c", "convention", "right, but written in another way than the task asks for"],
  ["k", "knowledge", "another answer, or none"],
];
const FATES = [
  ["lost", "lost", "right before, wrong now"],
  ["recovered", "recovered", "right before and now, wrong at some stage between"],
  ["gained", "gained", "wrong before, right now"],
  ["never", "never right", "wrong at every stage so far, the base included"],
  ["passing", "right in passing", "wrong before and now, right at some other stage"],
  ["kept", "kept", "right before, now, and at every stage between"],
];
const KINDS = [["", "anything"], ["format", "format"], ["convention", "convention"], ["knowledge", "knowledge"], ["cut", "cut off"]];
const BOTH = [
  ["", "all"], ["left", "only the run right"], ["right", "only the one beside right"],
  ["wrong", "both wrong"], ["same", "both right"],
];
const state = { run: "", beside: "", both: "", task: "", stage: "", kind: "", fate: "", q: "" };

// ---- marks: per run and stage one array over all items --------------------------------------------------

const taskOf = new Uint16Array(total);
data.tasks.forEach((task, number) => taskOf.fill(number, task.start, task.start + task.count));
const runs = data.runs.map((run) => ({ ...run, last: run.stages.length - 1, marks: marksOf(run), fates: new Map() }));

function marksOf(run) {
  const stages = run.stages.map(() => new Uint8Array(total).fill(ABSENT));
  for (const [number, cell] of Object.entries(run.cells)) {
    const { start } = data.tasks[number];
    cell.marks.forEach((marks, stage) => {
      for (let i = 0; i < marks.length; i++) {
        const code = marks.charCodeAt(i) - 48;
        if (code >= 0) stages[stage][start + i] = code;
      }
    });
  }
  return stages;
}

const stageOf = (run) => (state.stage === "" ? run.last : Math.min(Number(state.stage), run.last));

/** The fate of every item at a stage: analysis/fates.py in words of this page. */
function fatesAt(run, until) {
  if (run.fates.has(until)) return run.fates.get(until);
  const found = new Uint8Array(total).fill(ABSENT);
  for (const [number, cell] of Object.entries(run.cells)) {
    const { start, count } = data.tasks[number];
    const since = cell.learned < until ? cell.learned : 0;
    for (let item = start; item < start + count; item++) {
      const was = run.marks[since][item], is = run.marks[until][item];
      if (was === ABSENT || is === ABSENT) continue;
      let slipped = false, ever = false;
      for (let stage = 0; stage <= until; stage++) {
        const mark = run.marks[stage][item];
        if (mark === ABSENT) continue;
        if ((mark & 3) === RIGHT) ever = true;
        else if (stage >= since) slipped = true;
      }
      const before = (was & 3) === RIGHT, now = (is & 3) === RIGHT;
      found[item] = now ? (before ? (slipped ? 1 : 5) : 2) : before ? 0 : ever ? 4 : 3;
    }
  }
  run.fates.set(until, found);
  return found;
}

// ---- filtering ------------------------------------------------------------------------------------------

let shown = new Uint32Array(0), counts = [], low = null;

/** What a search looks through, in small letters. */
const lowered = () => low ??= {
  items: data.prompts.map((prompt, i) => `${data.ids[i]}\n${prompt}\n${data.references[i]}`.toLowerCase()),
  texts: data.texts.map((text) => text.toLowerCase()),
};

/** Which texts hold the words looked for. */
function textsWith(words) {
  const hit = new Uint8Array(data.texts.length);
  lowered().texts.forEach((text, i) => { if (text.includes(words)) hit[i] = 1; });
  return hit;
}

function wrote(run, item, hit) {
  const cell = run.cells[taskOf[item]];
  return !!cell && cell.says.some((stage) => hit[stage[item - data.tasks[taskOf[item]].start]]);
}

function kindFits(mark) {
  if (state.kind === "") return true;
  if (mark === ABSENT) return false;
  return state.kind === "cut" ? mark >= CUT : OUTCOMES[mark & 3][1] === state.kind;
}

function bothFit(left, right, item) {
  const a = left.marks[stageOf(left)][item], b = right.marks[stageOf(right)][item];
  if (a === ABSENT || b === ABSENT) return false;
  const x = (a & 3) === RIGHT, y = (b & 3) === RIGHT;
  return { left: x && !y, right: y && !x, wrong: !x && !y, same: x && y }[state.both];
}

function filter() {
  const asked = state.run === "" ? runs : [runs[state.run]];
  const at = asked.map((run) => ({ run, fates: fatesAt(run, stageOf(run)), marks: run.marks[stageOf(run)] }));
  const beside = state.beside === "" ? null : runs[state.beside];
  const wanted = FATES.findIndex(([name]) => name === state.fate);
  const words = state.q.trim().toLowerCase();
  const hit = words ? textsWith(words) : null;
  const only = state.task === "" ? null : data.tasks[state.task];
  const from = only ? only.start : 0, to = only ? only.start + only.count : total;
  const found = new Uint32Array(to - from);
  let size = 0;
  counts = FATES.map(() => 0);
  for (let item = from; item < to; item++) {
    let bits = 0;
    for (const { fates, marks } of at) {
      if (kindFits(marks[item]) && fates[item] !== ABSENT) bits |= 1 << fates[item];
    }
    if (!bits && (state.kind !== "" || wanted >= 0)) continue;
    if (beside && state.both && !bothFit(asked[0], beside, item)) continue;
    if (words && !lowered().items[item].includes(words) && !runs.some((run) => wrote(run, item, hit))) continue;
    for (let fate = 0; fate < FATES.length; fate++) if (bits & (1 << fate)) counts[fate]++;
    if (wanted < 0 || bits & (1 << wanted)) found[size++] = item;
  }
  shown = found.subarray(0, size);
}

// ---- building -------------------------------------------------------------------------------------------

function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Text that came from data: what turns the direction of writing ends with it. */
function said(tag, className, text) {
  const made = make(tag, `${className} data`);
  made.dir = "auto";
  const words = state.q.trim().toLowerCase();
  const at = words ? text.toLowerCase().indexOf(words) : -1;
  if (at < 0) made.textContent = text;
  else made.append(text.slice(0, at), make("mark", "", text.slice(at, at + words.length)), text.slice(at + words.length));
  return made;
}

function picture(number) {
  const image = make("img", "thumb");
  image.alt = "";
  image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth <= 96));
  image.src = data.album[number];
  return image;
}

function markOf(run, stage, item) {
  const mark = run.marks[stage][item];
  if (mark === ABSENT) return Object.assign(make("span", "mark none", "·"), { title: `${run.stages[stage]}: not judged` });
  const [sign, name] = OUTCOMES[mark & 3];
  const made = make("span", `mark ${name}${mark >= CUT ? " cut" : ""}`, sign);
  made.title = `${run.stages[stage]}: ${name}${mark >= CUT ? ", cut off" : ""}`;
  if (stage === stageOf(run)) made.classList.add("now");
  if (stage && stage === run.cells[taskOf[item]]?.learned) made.classList.add("learned");
  return made;
}

const MOST_STRIPS = 4;
/** The runs whose marks stand in a row. */
const strips = () => state.run === "" ? runs.slice(0, MOST_STRIPS) : [state.run, state.beside].filter(Boolean).map((i) => runs[i]);

function row(place) {
  const item = shown[place];
  const made = make("div", "row");
  made.setAttribute("role", "option");
  made.id = `row-${place}`;
  made.dataset.place = place;
  made.setAttribute("aria-selected", place === active);
  made.setAttribute("aria-posinset", place + 1);
  made.setAttribute("aria-setsize", shown.length);
  made.append(data.pictures[item] ? picture(data.pictures[item][0]) : make("span", "thumb none", data.album.length ? "no picture here" : ""));
  const what = make("div", "what"), wanted = make("div", "wanted", "answer ");
  wanted.append(said("b", "", data.references[item]));
  const where = make("div", "where");
  where.append(said("span", "", data.tasks[taskOf[item]].name), " · ", said("span", "", data.ids[item]));
  what.append(where, said("div", "asked", data.prompts[item]), wanted);
  const lines = make("div", "strips");
  for (const run of strips()) {
    const line = make("div", "strip");
    line.append(said("span", "name", run.label), ...run.stages.map((_, stage) => markOf(run, stage, item)));
    lines.append(line);
  }
  made.append(what, lines);
  return made;
}

// ---- the list -------------------------------------------------------------------------------------------

const narrow = matchMedia("(max-width: 700px)");
let active = 0, printing = false;
const rowHeight = () => (narrow.matches ? 104 + 21 * strips().length : Math.max(104, 18 + 20 * strips().length));

function draw() {
  if (printing) return;
  const list = $("list"), spacer = $("spacer"), height = rowHeight();
  const first = Math.max(0, Math.floor(list.scrollTop / height) - 4);
  const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / height) + 4);
  spacer.style.height = `${shown.length * height}px`;
  const rows = [];
  for (let place = first; place < last; place++) {
    const made = row(place);
    made.style.top = `${place * height}px`;
    made.style.height = `${height}px`;
    rows.push(made);
  }
  spacer.replaceChildren(...rows);
  list.classList.toggle("plain", !data.album.length);
  list.setAttribute("aria-activedescendant", shown.length ? `row-${active}` : "");
}

function move(to) {
  const list = $("list"), height = rowHeight();
  active = Math.max(0, Math.min(shown.length - 1, to));
  if (active * height < list.scrollTop) list.scrollTop = active * height;
  const below = (active + 1) * height - list.clientHeight;
  if (below > list.scrollTop) list.scrollTop = below;
  draw();
}

// ---- one item -------------------------------------------------------------------------------------------

function open(place) {
  if (place < 0 || place >= shown.length) return;
  move(place);
  const item = shown[place], dialog = $("item");
  const bar = make("div", "bar"), title = make("h2");
  title.id = "item-title";
  title.append(said("span", "", data.tasks[taskOf[item]].name), " · ", said("span", "", data.ids[item]));
  const button = (text, label, act) => {
    const made = make("button", "", text);
    made.setAttribute("aria-label", label);
    made.addEventListener("click", act);
    return made;
  };
  bar.append(
    title, make("span", "note", `${(place + 1).toLocaleString("en")} of ${shown.length.toLocaleString("en")}`),
    button("←", "The item before", () => open(active - 1)), button("→", "The next item", () => open(active + 1)),
    button("✕", "Close", () => dialog.close()),
  );
  const body = make("div", "open"), pictures = make("div", "pictures"), right = make("div"), columns = make("div", "columns");
  pictures.append(...(data.pictures[item] ?? []).map(picture));
  if (!pictures.childElementCount) pictures.append(make("p", "note", "No picture here."));
  const wanted = make("p", "wanted", "Answer ");
  wanted.append(said("b", "", data.references[item]));
  right.append(said("p", "question", data.prompts[item]), wanted);
  if (data.whole[item] !== "1") right.append(make("p", "note", "Extracted answers; the records have the whole responses."));
  columns.append(...(state.run === "" ? runs : strips()).map((run) => answers(run, item)));
  right.append(columns);
  body.append(pictures, right);
  dialog.replaceChildren(bar, body);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function answers(run, item) {
  const made = make("section"), title = said("h3", "", run.label), cell = run.cells[taskOf[item]];
  const fate = FATES[fatesAt(run, stageOf(run))[item]];
  if (fate) title.append(make("span", "", ` · ${fate[1]}`));
  made.append(title);
  run.stages.forEach((name, stage) => {
    const mark = run.marks[stage][item];
    if (mark === ABSENT) return;
    const line = make("div", "answer");
    const text = data.texts[cell.says[stage][item - data.tasks[taskOf[item]].start]] ?? "";
    line.append(markOf(run, stage, item), said("div", "when", name), said("div", "said", text || "(nothing)"));
    const why = [mark & 3 ? OUTCOMES[mark & 3][1] : "", mark >= CUT ? "cut off at the limit of tokens" : ""];
    if (why.some(Boolean)) line.append(make("div", "why", why.filter(Boolean).join(", ")));
    made.append(line);
  });
  return made;
}

// ---- matrices and filters -------------------------------------------------------------------------------

function matrix(run) {
  const made = make("div"), box = make("div", "scroll"), table = make("table"), head = make("tr");
  head.append(make("th", "", ""), ...data.tasks.map((task) => Object.assign(said("th", "", task.name), { scope: "col" })));
  const rows = run.stages.map((name, stage) => {
    const line = make("tr");
    line.append(Object.assign(said("th", "", stage ? `${stage} ${name}` : name), { scope: "row" }));
    data.tasks.forEach((task, number) => {
      const value = run.cells[number]?.accuracy[stage] ?? "", cell = make("td");
      if (value) {
        const button = make("button", run.cells[number].learned === stage && stage ? "trained" : "", value);
        button.style.setProperty("--share", value);
        button.title = `${task.name} after ${name}: ${value} %`;
        button.setAttribute("aria-pressed", state.task === String(number) && stageOf(run) === stage && state.stage !== "");
        button.addEventListener("click", () => set({ run: String(runs.indexOf(run)), task: String(number), stage: String(stage) }));
        cell.append(button);
      }
      line.append(cell);
    });
    return line;
  });
  const header = make("thead"), body = make("tbody");
  header.append(head);
  body.append(...rows);
  table.append(header, body);
  box.append(table);
  made.append(said("h3", "", run.label), box);
  return made;
}

function choose(id, options) {
  $(id).replaceChildren(...options.map(([value, text]) => new Option(text, value, false, value === state[id])));
}

function controls() {
  const names = runs.map((run, i) => [String(i), run.label]);
  choose("run", [["", "any run"], ...names]);
  choose("beside", [["", "none"], ...names.filter(([i]) => i !== state.run)]);
  choose("both", BOTH);
  choose("task", [["", "all tasks"], ...data.tasks.map((task, i) => [String(i), task.name])]);
  const longest = runs.reduce((a, b) => (b.last > a.last ? b : a), runs[0]);
  const run = state.run === "" ? longest : runs[state.run];
  const same = runs.every((one) => one.stages.every((name, i) => one.last < longest.last || name === longest.stages[i]));
  const named = (name, i) => (i === 0 ? "base" : state.run !== "" || same ? `${i} ${name}` : `stage ${i}`);
  choose("stage", [["", "the end"], ...run.stages.map((name, i) => [String(i), named(name, i)])]);
  choose("kind", KINDS);
  $("both-label").hidden = state.beside === "";
  if ($("search").value !== state.q) $("search").value = state.q;
}

function fateButtons() {
  $("fates").replaceChildren(...[["", "all", "whatever became of them"], ...FATES].map(([name, label, help], i) => {
    const button = make("button", "", label);
    button.title = help;
    button.dataset.fate = name;
    button.setAttribute("aria-pressed", state.fate === name);
    if (i) button.append(make("b", "", counts[i - 1].toLocaleString("en")));
    button.addEventListener("click", () => set({ fate: name }));
    return button;
  }));
}

function set(changes) {
  Object.assign(state, changes);
  if (changes.beside && state.run === "") state.run = changes.beside === "0" ? "1" : "0";
  if (state.run === "" || state.run === state.beside) state.beside = "";
  if (state.beside === "") state.both = "";
  if (state.run !== "" && state.stage !== "" && Number(state.stage) > runs[state.run].last) state.stage = "";
  update();
}

function update() {
  filter();
  controls();
  fateButtons();
  $("matrix-of").textContent = state.run === "" && runs.length > 1 ? "; the first run's until one is chosen" : "";
  $("matrices").replaceChildren(...(state.run === "" ? runs.slice(0, 1) : strips()).map(matrix));
  $("count").textContent = `${shown.length.toLocaleString("en")} of ${total.toLocaleString("en")} items`;
  active = 0;
  $("list").scrollTop = 0;
  draw();
  const told = Object.entries(state).filter(([, value]) => value !== "");
  history.replaceState(null, "", told.length ? `#${new URLSearchParams(told)}` : "#");
}

/** Filters from the address: tasks and runs by name, or by number. */
function address() {
  const asked = new URLSearchParams(location.hash.slice(1));
  for (const key of Object.keys(state)) state[key] = asked.get(key) ?? "";
  const number = (names, value) => (names.includes(value) ? String(names.indexOf(value)) : names[value] === undefined ? "" : value);
  state.run = number(runs.map((run) => run.label), state.run);
  state.beside = number(runs.map((run) => run.label), state.beside);
  state.task = number(data.tasks.map((task) => task.name), state.task);
}

for (const id of ["run", "beside", "both", "task", "stage", "kind"]) {
  $(id).addEventListener("change", () => set({ [id]: $(id).value }));
}
$("search").addEventListener("input", () => set({ q: $("search").value }));
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("list").addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
$("list").addEventListener("click", (event) => {
  const found = event.target.closest(".row");
  if (found) open(Number(found.dataset.place));
});
$("list").addEventListener("keydown", (event) => {
  const page = Math.floor($("list").clientHeight / rowHeight());
  const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
  if (!step && event.key !== "Enter") return;
  step ? move(active + step) : open(active);
  event.preventDefault();
});
$("item").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) open(active + step);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|SELECT)$/.test(event.target.tagName)) {
    event.preventDefault();
    $("search").focus();
  }
});
addEventListener("resize", draw);
addEventListener("hashchange", () => { address(); update(); });
const MOST_PRINTED = 200;
addEventListener("beforeprint", () => {
  printing = true;
  $("spacer").replaceChildren(...Array.from({ length: Math.min(MOST_PRINTED, shown.length) }, (_, place) => row(place)));
});
addEventListener("afterprint", () => { printing = false; draw(); });

const short = OUTCOMES.flatMap(([sign, name]) => [make("span", `mark ${name}`, sign), ` ${name} `]);
const [now, learned] = ["now", "learned"].map((kind) => make("span", `mark right ${kind}`, "✓"));
$("marks").append("One mark a stage, the base first: ", ...short, learned, " just trained ", now, " the stage looked at");
const legend = [...OUTCOMES.map(([sign, name, help]) => [`${sign} ${name}`, help]), ...FATES.map(([, label, help]) => [label, help])];
$("legend").replaceChildren(...legend.filter(([, help]) => help).flatMap(([term, help]) => [make("dt", "", term), make("dd", "", help)]));
$("legend").append(make("dt", "", "before"), make("dd", "", "just after training on the task; the base for general benchmarks, the task learned last and joint training"));
$("notes").replaceChildren(...data.notes.map((note) => make("li", "", note)));
address();
update();
(window.requestIdleCallback ?? setTimeout)(lowered);
