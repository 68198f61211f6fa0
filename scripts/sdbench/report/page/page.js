// Interaction: choice of the model, filters of charts and table, image-comparison slider.
const { columns, charts, headers, viewers, advice, currency } = JSON.parse(
  document.getElementById("data").textContent,
);
const named = ({ names, rows }) =>
  rows.map((values) => Object.fromEntries(names.map((name, i) => [name, values[i]])));
const rows = named(columns);

/** Tooltip of a mark in a chart: the non-empty cells of its row. */
function tip(row) {
  const shown = headers.filter(({ name }) => row[name] !== null && row[name] !== "" && row[name] !== false);
  return Object.fromEntries(shown.map(({ name, title }) => [title, row[name]]));
}

const FEW = 3;

/** Rows for the charts: a line for each setting if there are few devices, else for each device. */
function chartRows(shown) {
  const devices = new Set(shown.map((row) => row.device));
  return shown.map((row) => {
    const how = [row.precision, row.backend, ...(row.options === "none" ? [] : [row.options])];
    if (devices.size > 1) how.push(row.device);
    return { ...row, tip: tip(row), place: devices.size > FEW ? row.device : how.join(", ") };
  });
}

const filters = document.getElementById("filters");
const model = document.getElementById("model");

/** Whether something belongs to the chosen model; true if there is no choice. */
function asked(family) {
  return !model || family === model.value;
}

/** Chooses the first option of the chosen model; returns whether there is one. */
function chooseFirst(select) {
  const first = [...select.options].find(({ dataset }) => dataset.family && asked(dataset.family));
  if (first) select.value = first.value;
  return Boolean(first);
}

/** Shows only what belongs to the chosen model. */
function ask() {
  for (const part of document.querySelectorAll("[data-family]")) {
    part.hidden = !asked(part.dataset.family);
    // Some browsers show hidden options.
    if (part instanceof HTMLOptionElement) part.disabled = part.hidden;
  }
  const choice = filters?.elements.condition;
  if (model && choice && !chooseFirst(choice)) choice.value = "";
}

/** Returns a function that tests a row by the filters. */
function wanted() {
  const condition = filters.elements.condition.value;
  const groups = [...filters.querySelectorAll("fieldset[data-name]")].map((group) => [
    group.dataset.name,
    new Set([...group.querySelectorAll("input:checked")].map((box) => box.value)),
  ]);
  const gated = filters.elements.gate.checked;
  return (row) =>
    asked(row.family) &&
    (!condition || row.condition === condition) &&
    groups.every(([name, values]) => values.has(row[name])) &&
    !(gated && row.gate === "misses");
}

/** Hides the boxes of values that no row of the chosen model and condition has. */
function offer() {
  const condition = filters.elements.condition.value;
  const same = rows.filter((row) => asked(row.family) && (!condition || row.condition === condition));
  for (const group of filters.querySelectorAll("fieldset[data-name]")) {
    const values = new Set(same.map((row) => row[group.dataset.name]));
    for (const box of group.querySelectorAll("input")) box.parentElement.hidden = !values.has(box.value);
  }
}

/** Draws the charts; returns the element and the view of each. */
function drawCharts(shown) {
  return Promise.all(
    Object.entries(charts).map(async ([name, spec]) => {
      const place = document.getElementById(`chart-${name}`);
      spec.config.axis.labelLimit = place.clientWidth < 480 ? 130 : 260;
      const data = { name: "rows", values: chartRows(shown) };
      // Expressions are interpreted: the page allows no script that it does not name.
      const options = { actions: false, renderer: "svg", ast: true };
      const { view } = await vegaEmbed(place, { ...spec, data }, options);
      return [place, view];
    }),
  );
}

function showCases() {
  offer();
  let passes = wanted();
  let shown = rows.filter(passes);
  let views = [];
  DataTable.ext.errMode = "throw";
  const table = new DataTable("#table", {
    data: rows,
    columns: headers.map(({ name, title, long }) => ({
      data: name,
      title,
      // Names come from configs and models: they are text and never HTML.
      render: DataTable.render.text(),
      defaultContent: "",
      className: long ? "long" : "",
    })),
    order: [],
    deferRender: true,
    autoWidth: false,
    pageLength: 25,
    language: { search: "Search in all columns:", zeroRecords: "No row passes the filters." },
  });
  // A wide table scrolls inside its own region, with the keyboard too.
  const scroller = document.getElementById("table").parentElement;
  Object.entries({ tabindex: "0", role: "region", "aria-label": "All cases" }).forEach((pair) =>
    scroller.setAttribute(...pair),
  );
  table.search.fixed("filters", (_, row) => passes(row));

  const held = () => rows.filter((row) => asked(row.family)).length;

  function say() {
    document.getElementById("count").textContent =
      `${shown.length.toLocaleString("en")} of ${held().toLocaleString("en")} rows pass the filters`;
    for (const [place, view] of views) {
      const empty = view.data("data_0").length === 0;
      place.hidden = empty;
      place.nextElementSibling.hidden = !empty;
    }
  }

  async function refresh() {
    offer();
    passes = wanted();
    shown = rows.filter(passes);
    table.draw();
    const values = chartRows(shown);
    for (const [, view] of views) await view.data("rows", values).resize().runAsync();
    say();
  }

  // Charts are slow and below the first screen: draw them only when they come into view.
  const observer = new IntersectionObserver(
    async ([entry]) => {
      if (!entry.isIntersecting) return;
      observer.disconnect();
      const before = shown;
      views = await drawCharts(shown);
      if (shown === before) say();
      else await refresh();
      document.documentElement.dataset.charts = "";
    },
    { rootMargin: "50%" },
  );
  observer.observe(document.querySelector(".charts"));

  filters.addEventListener("change", refresh);
  filters.addEventListener("submit", (event) => event.preventDefault());
  // The form changes only after the event.
  const restart = () => {
    if (model) ask();
    return refresh();
  };
  filters.addEventListener("reset", () => setTimeout(restart));
  model?.addEventListener("change", restart);
  table.draw();
  say();
}

/** Starts a viewer: of images by step (no prefix), or of pairs, which begins with the first. */
function showImages({ prefix, series, sheets }) {
  const form = document.getElementById(`${prefix}viewer`);
  const { elements } = form;
  const stage = form.closest(".viewer").querySelector(".stage");
  const said = document.getElementById(`${prefix}said`);

  function place(layer, chosen, kind, index) {
    const column = index % chosen.columns;
    const row = Math.floor(index / chosen.columns);
    const share = (at, count) => `${count > 1 ? (100 * at) / (count - 1) : 0}%`;
    const sheet = sheets[chosen.sheets[kind]];
    if (layer.dataset.sheet !== String(chosen.sheets[kind])) {
      layer.style.backgroundImage = `url("${sheet}")`;
      layer.dataset.sheet = chosen.sheets[kind];
    }
    layer.style.backgroundSize = `${100 * chosen.columns}% ${100 * chosen.rows}%`;
    layer.style.backgroundPosition = `${share(column, chosen.columns)} ${share(row, chosen.rows)}`;
  }

  function show() {
    const chosen = series[elements.series.value];
    elements.step.max = chosen.steps.length - 1;
    const index = Number(elements.step.value);
    const wipe = Number(elements.wipe.value);
    const [left, right] = [elements.left.value, elements.right.value];
    stage.style.aspectRatio = `${chosen.width} / ${chosen.height}`;
    place(stage.querySelector(".left"), chosen, left, index);
    place(stage.querySelector(".right"), chosen, right, index);
    stage.querySelector(".right").style.clipPath = `inset(0 0 0 ${wipe}%)`;
    stage.querySelector(".edge").style.left = `${wipe}%`;
    elements.steps.value = chosen.steps[index];
    elements.share.value = `${wipe} %`;
    elements.step.setAttribute("aria-valuetext", chosen.said[index]);
    const score = chosen.scores[index];
    const words =
      `${chosen.said[index]}${score ? `: ${score}` : ""}. ` +
      `Left of the wipe: ${chosen.labels[left]}. Right of it: ${chosen.labels[right]}.`;
    // Announce only changes.
    if (said.textContent !== words) said.textContent = words;
    stage.setAttribute("aria-label", words);
  }

  function start() {
    elements.step.max = series[elements.series.value].steps.length - 1;
    elements.step.value = prefix ? 0 : elements.step.max;
    show();
  }

  function choose() {
    const found = chooseFirst(elements.series);
    document.getElementById(`${prefix}no-images`).hidden = found;
    if (!found) {
      // Images of another model say more than none.
      for (const option of elements.series.options) option.hidden = option.disabled = false;
      elements.series.selectedIndex = 0;
    }
    start();
  }

  // Dragging on the image moves the slider too.
  const drag = (event) => {
    if (event.type === "pointermove" && event.buttons !== 1) return;
    const box = stage.getBoundingClientRect();
    elements.wipe.value = (100 * (event.clientX - box.left)) / box.width;
    show();
  };
  stage.addEventListener("pointerdown", drag);
  stage.addEventListener("pointermove", drag);
  elements.series.addEventListener("change", start);
  model?.addEventListener("change", choose);
  for (const name of ["left", "right", "step", "wipe"]) elements[name].addEventListener("input", show);
  if (model) choose();
  else start();
}

/** A number with three significant digits. */
function digits(value) {
  return Number(value.toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3 });
}

/** Starts the choice of cards. What is chosen stands in the address, so that it can be linked to. */
function showAdvice(cards) {
  const form = document.getElementById("advice");
  const { elements } = form;
  const body = document.querySelector("#advice-table tbody");
  const start = "#cards?";
  const BADGES = { measured: "good", projected: "good", published: "published", predicted: "open" };

  function element(name, text, kind = "") {
    const made = document.createElement(name);
    if (kind) made.className = kind;
    made.textContent = text;
    return made;
  }

  /** Fills a select with values; keeps what was chosen where it is among them. */
  function fill(select, values) {
    const before = select.value;
    select.replaceChildren(...values.map((value) => new Option(String(value), String(value))));
    if (values.map(String).includes(before)) select.value = before;
  }

  function distinct(held, name) {
    return [...new Set(held.map((row) => row[name]))];
  }

  /** Offers what there is of the chosen model and size; returns the rows of that. */
  function offerSizes() {
    const ofModel = cards.filter((row) => row.model === elements.model.value);
    fill(elements.size, distinct(ofModel, "size"));
    const ofSize = ofModel.filter((row) => row.size === elements.size.value);
    fill(elements.batch, distinct(ofSize, "batch"));
    return ofSize.filter((row) => String(row.batch) === elements.batch.value);
  }

  function cell(row, name, label, basis) {
    const made = element("td", "", "num");
    if (row[name] === null) return made;
    made.dataset.label = label;
    made.append(element("strong", digits(row[name])));
    if (basis) made.append(" ", element("span", basis, `badge ${BADGES[basis]}`));
    const [low, high] = [row[`${name}_low`] ?? null, row[`${name}_high`] ?? null];
    if (low !== null && high !== null) made.append(element("span", `${digits(low)} to ${digits(high)}`, "how"));
    return made;
  }

  function line(row) {
    const made = document.createElement("tr");
    const head = element("th", row.card);
    head.scope = "row";
    if (row.card_gb) head.append(element("span", `${row.card_gb} GB`, "how"));
    made.append(head);
    if (row.latency_s === null) {
      const words = element("td", row.reason || "cannot be said", "words");
      words.colSpan = 5;
      made.append(words);
      return made;
    }
    made.append(
      cell(row, "latency_s", "seconds", row.basis),
      cell(row, "images_per_minute", "images per minute", ""),
      cell(row, "memory_gb", "GB", row.memory_basis),
      cell(row, "cost", `${currency} for 1,000`, ""),
    );
    const how = element("td", row.how);
    how.dataset.label = "precision";
    made.append(how);
    return made;
  }

  function show() {
    const asked = offerSizes();
    const need = elements.need.value;
    form.querySelector(".unit").textContent = elements.need.selectedOptions[0].dataset.unit;
    const sign = need === "images_per_minute" ? -1 : 1;
    const bound = elements.bound.value === "" ? null : Number(elements.bound.value);
    const words = elements.name.value.toLowerCase().split(/\s+/).filter(Boolean);
    const called = asked.filter((row) => words.every((word) => row.card.toLowerCase().includes(word)));
    const known = called.filter((row) => row.latency_s !== null && row[need] !== null);
    const meet = known.filter((row) => bound === null || sign * row[need] <= sign * bound);
    meet.sort((one, other) => sign * (one[need] - other[need]) || one.latency_s - other.latency_s);
    const unknown = bound === null ? called.filter((row) => !known.includes(row)) : [];
    body.replaceChildren(...[...meet, ...unknown].map(line));
    document.getElementById("advice-count").textContent =
      bound === null
        ? `${meet.length} of ${called.length} cards have an answer`
        : `${meet.length} of ${called.length} cards meet this`;
  }

  /** Takes what the address says. */
  function read() {
    if (!location.hash.startsWith(start)) return;
    const said = new URLSearchParams(location.hash.slice(start.length));
    // The model first: it says which sizes there are.
    for (const name of ["model", "size", "batch", "need", "bound", "name"]) {
      const { [name]: control } = elements;
      control.value = said.get(name) ?? "";
      if (control.options && control.selectedIndex < 0) control.selectedIndex = 0;
      offerSizes();
    }
    show();
    document.getElementById("cards").scrollIntoView();
  }

  function write() {
    show();
    const said = new URLSearchParams(new FormData(form));
    for (const [name, value] of [...said]) if (value === "") said.delete(name);
    history.replaceState(null, "", start + said);
  }

  fill(elements.model, distinct(cards, "model"));
  for (const kind of ["input", "change"]) form.addEventListener(kind, write);
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", read);
  show();
  read();
}

if (model) ask();
model?.form.addEventListener("submit", (event) => event.preventDefault());
if (advice.rows.length) showAdvice(named(advice));
if (rows.length) showCases();
for (const viewer of viewers) if (viewer.series.length) showImages(viewer);
performance.mark("ready");
document.documentElement.dataset.ready = "";
