// The legend and the settings: they follow the server, except under the viewer's own hand.

import { change } from "/link.js";

const $ = (id) => document.getElementById(id);
const HOLD_MS = 1500; // how long a control keeps what the server has taken, until it shows it

const held = new Map(); // setting -> when it was touched or taken by the server
const waiting = new Map(); // setting -> newest value to send after the one on its way

let settings = null;
let reportError = () => {};

/** Send a change; while one is on its way, only the newest value after it is kept. */
export async function set(name, value) {
  held.set(name, performance.now());
  if (settings !== null) settings[name] = value;
  if (waiting.has(name)) {
    waiting.set(name, { value });
    return;
  }
  waiting.set(name, null);
  try {
    for (let next = { value }; next !== null; next = waiting.get(name)) {
      waiting.set(name, null);
      await change(name, next.value);
      held.set(name, performance.now());
    }
  } catch (error) {
    held.delete(name);
    reportError(error.message);
  } finally {
    waiting.delete(name);
  }
}

/** Build the controls for what the server offers; errors are told to `onError`. */
export function setUp({ classes, choices }, onError) {
  reportError = onError;
  $("classes").querySelector("ul").replaceChildren(...classes.map(classRow));
  $("all-classes").onclick = () => chooseClasses(null);

  $("mode").replaceChildren(...choices.mode.map(modeButton));
  fillSelect("update", choices.update, (value) => value);
  fillSelect("update_scale", choices.update_scale, (scale) => `${Math.round(100 * scale)}%`);
  for (const name of ["async_keyframes", "outline", "legend", "side_by_side"]) {
    $(name).onchange = () => set(name, $(name).checked);
  }
  $("alpha").oninput = () => {
    showSlider("alpha", Number($("alpha").value));
    set("alpha", Number($("alpha").value));
  };
  $("interval").oninput = () => showSlider("interval", Number($("interval").value));
  $("interval").onchange = () => set("interval", Number($("interval").value));
  $("interval").addEventListener("input", () => held.set("interval", performance.now()));
}

/** Show the server's settings and class shares. */
export function follow(stats) {
  const own = settings;
  settings = { ...stats.settings };
  for (const [name, when] of held) {
    if (!waiting.has(name) && performance.now() - when > HOLD_MS) held.delete(name);
    else if (own !== null) settings[name] = own[name];
  }
  for (const name of ["alpha", "interval"]) if (!held.has(name)) showSlider(name, settings[name]);
  for (const name of ["update", "update_scale"]) {
    if (!held.has(name)) $(name).value = String(settings[name]);
  }
  for (const name of ["async_keyframes", "outline", "legend", "side_by_side"]) {
    if (!held.has(name)) $(name).checked = settings[name];
  }
  for (const input of document.querySelectorAll("#mode input")) {
    if (!held.has("mode")) input.checked = input.value === settings.mode;
  }
  const interval = settings.mode === "deeplab" ? 1 : settings.interval;
  $("update").disabled = $("update_scale").disabled = settings.mode !== "accel" || interval === 1;
  $("interval").disabled = settings.mode === "deeplab";
  showClasses(stats.class_share);
}

/** Pause or go on. */
export function togglePause() {
  if (settings !== null) set("paused", !settings.paused);
}

function showSlider(name, value) {
  const slider = $(name);
  slider.max = Math.max(Number(slider.max), value);
  slider.value = value;
  const share = (slider.value - slider.min) / (slider.max - slider.min);
  slider.style.setProperty("--share", `${100 * share}%`);
  $(`${name}-value`).value = name === "alpha" ? `${Math.round(100 * value)}%` : value;
}

function fillSelect(name, values, label) {
  $(name).replaceChildren(...values.map((value) => new Option(label(value), String(value))));
  $(name).onchange = () => {
    const chosen = values.find((value) => String(value) === $(name).value);
    set(name, chosen);
  };
}

function modeButton(mode) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  input.type = "radio";
  input.name = "mode";
  input.value = mode;
  input.onchange = () => set("mode", mode);
  label.append(input, mode);
  return label;
}

function classRow({ name, color }) {
  const row = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.name = name;
  button.style.setProperty("--color", color);
  const label = document.createElement("span");
  label.textContent = name;
  button.append(document.createElement("i"), label, document.createElement("em"));
  button.onclick = () => toggleClass(name);
  row.append(button);
  return row;
}

function classNames() {
  return [...document.querySelectorAll("#classes li button")].map(({ dataset }) => dataset.name);
}

function toggleClass(name) {
  if (settings === null) return;
  const all = classNames();
  const chosen = new Set(settings.classes ?? all);
  if (!chosen.delete(name)) chosen.add(name);
  chooseClasses(chosen.size === all.length ? null : all.filter((one) => chosen.has(one)));
}

function chooseClasses(names) {
  set("classes", names);
  showClasses(null);
}

function showClasses(shares) {
  $("all-classes").hidden = settings.classes === null;
  for (const button of document.querySelectorAll("#classes li button")) {
    const { name } = button.dataset;
    const on = settings.classes === null || settings.classes.includes(name);
    button.setAttribute("aria-pressed", String(on));
    button.title = on ? `Hide ${name}` : `Show ${name}`;
    if (shares === null) continue;
    const percent = 100 * (shares[name] ?? 0);
    button.style.setProperty("--share", percent / 100);
    button.querySelector("em").textContent = percent > 0 && percent < 1 ? "<1%" : `${percent.toFixed(0)}%`;
  }
}
