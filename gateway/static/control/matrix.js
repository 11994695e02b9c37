"use strict";
// The matrix of features and groups: opens rows, moves by keys, collects changes, asks for the
// preview and saves. Everything that is decided, and every text, comes from the server.

const matrix = document.getElementById("matrix");
const body = matrix.tBodies[0];
const editor = document.getElementById("matrix-editor");
const pending = document.getElementById("matrix-pending");
const result = document.getElementById("matrix-result");
const fault = document.getElementById("matrix-fault");
const isEditable = matrix.dataset.editable === "1";
const changes = new Map(); // "group feature" -> {cell, group, feature, was, rule}
let edited = null;

// Moving

function cellsOf(row) {
  return [...row.querySelectorAll(".matrix-cell")].filter((cell) => cell.offsetParent !== null);
}

function focusOn(cell) {
  if (!cell) return;
  matrix.querySelectorAll('.matrix-cell[tabindex="0"]').forEach((other) => (other.tabIndex = -1));
  cell.tabIndex = 0;
  cell.focus();
}

function rowsShown() {
  return [...body.rows].filter((row) => row.dataset.path !== undefined && !row.hidden);
}

function beside(cell, rows, columns) {
  const row = cell.closest("tr");
  const shown = rowsShown();
  const next = shown[shown.indexOf(row) + rows] || row;
  const column = cellsOf(row).indexOf(cell) + columns;
  return cellsOf(next)[column];
}

const MOVES = {
  ArrowUp: (cell) => beside(cell, -1, 0),
  ArrowDown: (cell) => beside(cell, 1, 0),
  ArrowLeft: (cell) => beside(cell, 0, -1),
  ArrowRight: (cell) => beside(cell, 0, 1),
  Home: (cell) => cellsOf(cell.closest("tr"))[0],
  End: (cell) => cellsOf(cell.closest("tr")).at(-1),
};

body.addEventListener("keydown", (event) => {
  const cell = event.target.closest(".matrix-cell");
  if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
  if (MOVES[event.key]) {
    focusOn(MOVES[event.key](cell));
  } else if (event.key === "+" || event.key === "-") {
    open(cell.closest("tr"), event.key === "+");
  } else if (event.key === "Delete" && isEditable) {
    stage(cell, null);
  } else {
    return;
  }
  event.preventDefault();
});

// Opening groups

function below(row) {
  const depth = Number(row.dataset.depth);
  const found = [];
  for (let next = row.nextElementSibling; next; next = next.nextElementSibling) {
    if (next.dataset.path !== undefined && Number(next.dataset.depth) <= depth) break;
    if (next.dataset.path === undefined && Number(next.dataset.under) < depth + 1) break;
    found.push(next);
  }
  return found;
}

async function open(row, isWanted) {
  if (!row.hasAttribute("aria-expanded") || row.ariaExpanded === String(isWanted)) return;
  row.ariaExpanded = String(isWanted);
  if (!isWanted) {
    below(row).forEach((child) => {
      child.hidden = true;
      if (child.hasAttribute("aria-expanded")) child.ariaExpanded = "false";
    });
    return;
  }
  if (!row.dataset.isRead) {
    row.dataset.isRead = "1";
    const fetched = await rowsFrom({ parent: row.dataset.group });
    fetched.forEach((child) => markMore(child, Number(row.dataset.depth) + 1));
    row.after(...fetched);
    return;
  }
  const depth = Number(row.dataset.depth) + 1;
  below(row).forEach((child) => {
    child.hidden = Number(child.dataset.depth ?? child.dataset.under) !== depth;
  });
}

function markMore(row, depth) {
  if (row.dataset.path === undefined) row.dataset.under = String(depth);
}

async function rowsFrom(query) {
  const answer = await fetch(`${matrix.dataset.rows}?${new URLSearchParams(query)}`);
  if (!answer.ok) return [];
  const table = document.createElement("table");
  table.innerHTML = await answer.text();
  return [...table.querySelectorAll("tr")];
}

body.addEventListener("click", async (event) => {
  const row = event.target.closest("tr");
  if (event.target.closest(".matrix-twist")) {
    open(row, row.ariaExpanded !== "true");
  } else if (event.target.closest(".matrix-more button")) {
    const last = row.previousElementSibling;
    let sibling = last;
    while (sibling.dataset.depth !== (row.dataset.under ?? "0")) sibling = sibling.previousElementSibling;
    const fetched = await rowsFrom({ parent: row.dataset.parent, after: sibling.dataset.path });
    fetched.forEach((child) => markMore(child, Number(row.dataset.under ?? 0)));
    row.replaceWith(...fetched);
  } else if (event.target.closest(".matrix-cell") && isEditable) {
    edit(event.target.closest(".matrix-cell"));
  }
});

document.getElementById("matrix-parts").addEventListener("change", (event) => {
  matrix.classList.toggle("hides-parts", !event.target.checked);
});

// Editing

function placeOf(cell) {
  const row = cell.closest("tr");
  const feature = cell.closest("td").dataset.feature;
  const group = row.dataset.group === "" ? null : Number(row.dataset.group);
  return { group, feature, key: `${row.dataset.group} ${feature}` };
}

function ruleOf(cell) {
  const change = changes.get(placeOf(cell).key);
  return change ? change.rule : JSON.parse(cell.dataset.own);
}

function edit(cell) {
  edited = cell;
  focusOn(cell);
  const rule = ruleOf(cell);
  const form = editor.querySelector("form");
  document.getElementById("matrix-editor-title").textContent = cell.ariaLabel.split(": ")[0];
  document.getElementById("matrix-editor-inherits").textContent = cell.title;
  const state = rule ? rule.state : "";
  form.querySelectorAll('input[name="state"]').forEach((choice) => (choice.checked = choice.value === state));
  form.elements.locked.checked = Boolean(rule && rule.locked);
  form.elements.model.value = rule && rule.model !== null ? String(rule.model) : "";
  editor.returnValue = "";
  editor.showModal();
  form.querySelector('input[name="state"]:checked').focus();
}

editor.addEventListener("change", (event) => {
  // A lock or a model needs a rule to stand in.
  const chosen = editor.querySelector('input[name="state"]:checked');
  if (event.target.name !== "state" && chosen.value === "") {
    editor.querySelector('input[name="state"][value="inherit"]').checked = true;
  }
});

editor.addEventListener("close", () => {
  if (editor.returnValue === "set") {
    const { state, locked, model } = editor.querySelector("form").elements;
    const rule = { state: state.value, locked: locked.checked, model: model.value ? Number(model.value) : null };
    stage(edited, state.value ? rule : null);
  }
  focusOn(edited);
});

function stage(cell, rule) {
  const { key, group, feature } = placeOf(cell);
  const was = JSON.parse(cell.dataset.own);
  if (JSON.stringify(was) === JSON.stringify(rule)) {
    changes.delete(key);
  } else {
    changes.set(key, { cell, group, feature, was, rule });
  }
  show(cell, changes.get(key));
  result.replaceChildren();
  tellPending();
}

function show(cell, change) {
  const state = cell.querySelector(".matrix-state");
  const model = cell.querySelector(".matrix-model");
  cell.dataset.shown ??= JSON.stringify([state.innerHTML, model.textContent, cell.ariaLabel]);
  const [html, text, label] = JSON.parse(cell.dataset.shown);
  cell.classList.toggle("is-changed", Boolean(change));
  if (!change) {
    [state.innerHTML, model.textContent, cell.ariaLabel] = [html, text, label];
    return;
  }
  const { rule } = change;
  const chosen = rule && rule.model !== null ? editor.querySelector(`option[value="${rule.model}"]`) : null;
  const words = rule ? { on: "on", off: "off", inherit: "as above" }[rule.state] : "no rule";
  state.textContent = words + (rule && rule.locked ? ", locked" : "");
  model.textContent = chosen ? chosen.textContent : "";
  cell.ariaLabel = `${label.split(": ")[0]}: changed to ${state.textContent}, not saved`;
}

function tellPending() {
  pending.hidden = changes.size === 0;
  fault.hidden = true;
  const count = document.getElementById("matrix-count");
  count.textContent = changes.size === 1 ? "1 cell changed, not saved" : `${changes.size} cells changed, not saved`;
}

window.addEventListener("beforeunload", (event) => {
  if (changes.size) event.preventDefault();
});

document.getElementById("matrix-discard").addEventListener("click", () => {
  for (const { cell } of changes.values()) show(cell, null);
  changes.clear();
  result.replaceChildren();
  tellPending();
});

// Asking the server

async function post(url, button) {
  const cells = [...changes.values()].map(({ group, feature, was, rule }) => ({ group, feature, was, rule }));
  button.disabled = true;
  fault.hidden = true;
  try {
    const answer = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRFToken": token() },
      body: JSON.stringify(cells),
    });
    if (answer.ok) return answer;
    const isJson = (answer.headers.get("Content-Type") || "").includes("json");
    tell(isJson ? (await answer.json()).fault : `The server answered ${answer.status}. Nothing was saved.`);
  } catch {
    tell("The server cannot be reached. Nothing was saved.");
  } finally {
    button.disabled = false;
  }
  return null;
}

function token() {
  return document.querySelector("[name=csrfmiddlewaretoken]").value;
}

function tell(text) {
  fault.textContent = text;
  fault.hidden = false;
  fault.scrollIntoView({ block: "nearest" });
}

document.getElementById("matrix-preview").addEventListener("click", async (event) => {
  const answer = await post(matrix.dataset.preview, event.currentTarget);
  if (!answer) return;
  result.innerHTML = await answer.text();
  const shown = document.getElementById("preview");
  shown.scrollIntoView({ block: "nearest" });
  shown.focus({ preventScroll: true });
});

result.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  const answer = await post(matrix.dataset[button.dataset.do], button);
  if (!answer) return;
  const text = await answer.text();
  if (button.dataset.do === "rehearse") {
    document.getElementById("rehearsal").innerHTML = text;
  } else {
    changes.clear();
    const opened = [...body.querySelectorAll('[aria-expanded="true"]')].map((row) => row.dataset.group);
    sessionStorage.setItem("matrix-opened", JSON.stringify(opened));
    location.reload();
  }
});

// The groups that were open before a save are open after it.
async function openAgain() {
  const groups = JSON.parse(sessionStorage.getItem("matrix-opened") || "[]");
  sessionStorage.removeItem("matrix-opened");
  for (const group of groups) {
    const row = body.querySelector(`tr[data-group="${group}"]`);
    if (row) await open(row, true);
  }
}

body.querySelector(".matrix-cell").tabIndex = 0;
openAgain();
