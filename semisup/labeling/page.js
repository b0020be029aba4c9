"use strict";
// Shows one picture after the other, takes a class for each by key, click or touch, and saves the file of labels.
// Text from the data only ever becomes text nodes and values.

const DATA = JSON.parse(document.getElementById("data").textContent);
const KEYS = "1234567890qwertyuiopasdfghjklzxcvbnm";
const STORE = `semisup label ${DATA.name}`;
/** The key of each class: its name where that is a single character, else the next of those that are left. */
const keyOf = DATA.classes.map((one) => (KEYS.includes(one.name.toLowerCase()) && one.name.length === 1 ? one.name.toLowerCase() : ""));
const left = [...KEYS].filter((key) => !keyOf.includes(key));
for (const [label, key] of keyOf.entries()) if (!key || keyOf.indexOf(key) < label) keyOf[label] = left.shift() ?? "";
const of = (id) => document.getElementById(id);
const labels = new Map(); // picture -> class, in the order in which they were given
let now = 0, unsaved = false;

// ---- what was done stays in the browser, where it lets a file keep something

try {
  for (const [picture, label] of JSON.parse(localStorage.getItem(STORE)) ?? []) labels.set(picture, label);
  unsaved = labels.size > 0;
} catch { /* then it stays until the page is closed */ }

function keep() {
  unsaved = true;
  try {
    localStorage.setItem(STORE, JSON.stringify([...labels]));
  } catch { /* as above */ }
}

// ---- labels

/** The next picture without a label, or the one that is shown where there is none. */
function open() {
  const order = [...DATA.pictures.keys()].map((k) => (now + k) % DATA.pictures.length);
  return order.find((k) => !labels.has(k)) ?? now;
}

function give(label) {
  labels.delete(now); // so that the last one given is the last one
  labels.set(now, label);
  keep();
  now = open();
  show();
}

function undo() {
  const last = [...labels.keys()].pop();
  if (last === undefined) return;
  labels.delete(last);
  keep();
  now = last;
  show();
}

function move(by) {
  now = (now + by + DATA.pictures.length) % DATA.pictures.length;
  show();
}

// ---- the file

/** What `--data.labels_csv` takes: the labels that there were, and behind them those of this page, by picture. */
function csv() {
  const rows = [...labels].sort(([a], [b]) => a - b);
  return decodeURIComponent(DATA.head + rows.map(([k, label]) => `${DATA.pictures[k].cell},${DATA.classes[label].cell}\n`).join(""));
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv;charset=utf-8" }));
  link.download = "labels.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  unsaved = false;
  show();
}

// ---- the page

const buttons = DATA.classes.map((one, label) => {
  const button = document.createElement("button");
  button.type = "button";
  if (keyOf[label]) {
    const key = document.createElement("kbd");
    key.textContent = keyOf[label];
    button.append(key);
  }
  const name = document.createElement("span");
  name.textContent = one.name;
  button.append(name);
  button.addEventListener("click", (event) => {
    if (event.detail) button.blur(); // after a pointer: else the next Enter would press it again
    give(label);
  });
  of("classes").append(button);
  return button;
});

function show() {
  const picture = DATA.pictures[now], given = labels.get(now);
  of("picture").src = picture.image;
  of("picture").className = DATA.small ? "small" : "";
  of("picture").alt = picture.path;
  of("guess").textContent = `${DATA.classes[picture.guess].name}? ${Math.round(100 * picture.confidence)} % sure`;
  of("path").textContent = `${now + 1}. ${picture.path}`;
  buttons.forEach((button, label) => {
    button.classList.toggle("guess", label === picture.guess);
    button.setAttribute("aria-pressed", String(label === given));
  });
  of("done").textContent = labels.size;
  document.querySelector("progress").value = labels.size;
  of("undo").disabled = labels.size === 0;
  of("save").disabled = labels.size === 0;
  of("save").classList.toggle("ready", unsaved && labels.size > 0);
  const whole = labels.size === DATA.pictures.length;
  of("finished").hidden = !whole;
  if (whole) document.querySelector("details").open = true;
}

of("save").addEventListener("click", save);
for (const [id, act] of [["undo", undo], ["back", () => move(-1)], ["next", () => move(1)]]) {
  of(id).addEventListener("click", (event) => {
    if (event.detail) of(id).blur();
    act();
  });
}
of("filter").addEventListener("input", () => {
  const word = of("filter").value.toLowerCase();
  buttons.forEach((button, label) => (button.hidden = !DATA.classes[label].name.toLowerCase().includes(word)));
});
of("filter").addEventListener("keydown", (event) => {
  const shown = buttons.filter((button) => !button.hidden);
  if (event.key !== "Enter" || shown.length === 0) return;
  of("filter").value = "";
  shown[0].click();
  for (const button of buttons) button.hidden = false;
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, summary"), pressed = event.target.closest("button");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const label = keyOf.indexOf(event.key.toLowerCase());
  const keys = { Backspace: undo, ArrowLeft: () => move(-1), ArrowRight: () => move(1) };
  if (!pressed) Object.assign(keys, { " ": () => move(1), Enter: () => give(DATA.pictures[now].guess) });
  const act = event.key.length === 1 && label >= 0 ? () => give(label) : keys[event.key];
  if (!act || event.repeat) return;
  event.preventDefault();
  act();
});
now = open();
show();
