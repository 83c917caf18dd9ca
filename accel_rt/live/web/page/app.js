// The page: what the server tells, put where it belongs.

import { Chart, number } from "/charts.js";
import { follow, set, setUp, togglePause } from "/controls.js";
import { connect } from "/link.js";

const $ = (id) => document.getElementById(id);
const TOAST_MS = 6000;
const LEAST_STAGE_MS = 0.05; // shorter stages would show as 0
const STAGE_COLORS = [1, 3, 4, 5, 6, 7, 8].map((number) => `--series-${number}`);
const STATES = {
  running: "live",
  paused: "paused",
  reconnecting: "no signal",
  ended: "ended",
};
const AWAY = { reconnecting: "Waiting for the source…", ended: "The source has ended." };

if (location.hash !== "") history.replaceState(null, "", "/"); // a link's token, known already

let charts = [];
let history = [];
let samples = 240;
let last = null;
let toastTimer = 0;

connect({ hello, stats, picture, lost });

function hello({ classes, choices, history: past, history_length, stats_interval_s }) {
  samples = history_length;
  history = past;
  setUp({ classes, choices }, toast);
  if (charts.length > 0) return;
  const common = { samples, interval_s: stats_interval_s };
  charts = [
    new Chart($("fps-chart"), $("fps-keys"), { ...common, series: rateSeries }),
    new Chart($("age-chart"), $("age-keys"), { ...common, series: ageSeries }),
    new Chart($("stage-chart"), $("stage-keys"), { ...common, stacked: true, series: stageSeries }),
  ];
}

function rateSeries(past) {
  return [
    { name: "shown", color: "--series-1", values: past.map(({ fps }) => fps), fill: 0.15 },
    { name: "source", color: "--series-2", values: past.map(({ source_fps }) => source_fps), dashed: true },
  ];
}

function ageSeries(past) {
  return [
    { name: "p50", color: "--series-1", values: past.map(({ age_ms }) => age_ms?.p50 ?? null), fill: 0.15 },
    { name: "p95", color: "--series-3", values: past.map(({ age_ms }) => age_ms?.p95 ?? null) },
  ];
}

function stageSeries(past) {
  const visible = past.flatMap(({ stage_ms }) => Object.entries(stage_ms).filter(([, ms]) => ms >= LEAST_STAGE_MS));
  const stages = [...new Set(visible.map(([name]) => name))];
  return stages.map((name, i) => ({
    name,
    color: STAGE_COLORS[i % STAGE_COLORS.length],
    values: past.map(({ stage_ms }) => stage_ms[name] ?? 0),
    fill: 0.55,
  }));
}

function stats(now, viewer) {
  last = now;
  const { fps, source_fps, age_ms, stage_ms } = now;
  history.push({ fps, source_fps, age_ms, stage_ms });
  history.splice(0, history.length - samples);
  for (const chart of charts) chart.show(history);
  follow(now);
  showHeader(now);
  showTiles(now);
  showToolbar(now, viewer);
  const away = AWAY[now.state] ?? "";
  notice(now.message || away, away !== "");
}

function showHeader({ source, size, state, server }) {
  $("source").textContent = size === null ? source : `${source} · ${size[1]}×${size[0]}`;
  $("source").title = source;
  showState(state, STATES[state]);
  $("viewers").textContent = server.viewers === 1 ? "1 viewer" : `${server.viewers} viewers`;
  document.title = `${state === "running" ? "" : `${STATES[state]} · `}${source} · accel-rt live`;
}

function showState(state, text) {
  $("state").dataset.state = state;
  if ($("state").textContent !== text) $("state").textContent = text;
}

function showTiles(now) {
  const { age_ms, frame_ms, frames, keyframes, dropped, reconnects } = now;
  const arrived = frames + dropped;
  $("fps").textContent = number(now.fps);
  $("source-fps").textContent = `of ${number(now.source_fps)}`;
  $("age").textContent = number(age_ms?.p95);
  $("age-more").textContent = `p50 ${number(age_ms?.p50)} · p99 ${number(age_ms?.p99)}`;
  $("frame-time").textContent = number(frame_ms?.p50);
  $("frame-more").textContent = `p95 ${number(frame_ms?.p95)} · p99 ${number(frame_ms?.p99)}`;
  $("dropped").textContent = dropped.toLocaleString();
  $("dropped-more").textContent = arrived === 0 ? "" : `${number((100 * dropped) / arrived)}% of frames`;
  $("keyframes").textContent = keyframes.toLocaleString();
  $("keyframes-more").textContent = `of ${frames.toLocaleString()} frames`;
  $("memory").textContent = Math.round(now.memory_mb).toLocaleString();
  $("uptime").textContent =
    `up ${duration(now.uptime_s)}` + (reconnects > 0 ? ` · reconnects ${reconnects}` : "");
}

function showToolbar(now, viewer) {
  const { paused } = now.settings;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").querySelector("span").textContent = paused ? "Go on" : "Pause";
  const recording = now.recording !== null;
  $("record").setAttribute("aria-pressed", String(recording));
  $("record").querySelector("span").textContent = recording ? "Stop" : "Record";
  $("recording").hidden = !recording;
  $("recording").querySelector("span").textContent = now.recording?.split(/[\\/]/).pop() ?? "";
  $("recording").title = now.recording ?? "";
  const { fps, delay_p95_ms } = viewer;
  $("screen").textContent = delay_p95_ms === null ? "" : `here ${number(fps)} fps · ${number(delay_p95_ms)} ms`;
}

function picture(bitmap, kind) {
  const canvas = $("picture");
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    $("frame").style.setProperty("--ratio", bitmap.width / bitmap.height);
  }
  canvas.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
  canvas.dataset.kind = kind;
}

function lost(sentence) {
  showState("lost", "offline");
  notice(sentence);
}

function notice(sentence, dimmed = true) {
  $("notice").hidden = sentence === "";
  if ($("notice").textContent !== sentence) $("notice").textContent = sentence;
  $("frame").classList.toggle("dimmed", dimmed && sentence !== "");
}

function toast(sentence) {
  clearTimeout(toastTimer);
  $("toast").textContent = sentence;
  $("toast").hidden = false;
  toastTimer = setTimeout(() => ($("toast").hidden = true), TOAST_MS);
}

function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return `${Math.floor(seconds)} s`;
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function toggleFull() {
  if (!document.fullscreenEnabled) return;
  if (document.fullscreenElement) document.exitFullscreen();
  else $("frame").requestFullscreen();
}

const toggleRecord = () => last !== null && set("record", last.recording === null);
const actions = { " ": togglePause, s: () => $("snapshot").click(), r: toggleRecord, f: toggleFull };

$("pause").onclick = togglePause;
$("record").onclick = toggleRecord;
$("full").hidden = !document.fullscreenEnabled; // as on an iPhone
$("full").onclick = toggleFull;
$("frame").ondblclick = toggleFull;
addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, button, a");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in actions)) return;
  event.preventDefault();
  actions[event.key]();
});
