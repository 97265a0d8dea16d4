// The group report: the mood of everyone in view over time, kept only as sums. It is off unless the server was started with
// `--group-report`. Nothing is kept of an interval in which fewer faces were in view than the server's minimum.

import { $, EMOTIONS, download, percent, serverModel } from "./common.js";

/** Length of the interval that one row covers, in milliseconds. */
const INTERVAL = 10_000;

let least = 0;
let report = null;
let sums = null;

const blank = (start) => ({ start, frames: 0, enough: true, faces: 0, emotions: EMOTIONS.map(() => 0) });

/** Takes a frame's faces and adds them to the sums of the interval. Nothing else is kept. */
export function frame(faces) {
  if (!report) return;
  const now = performance.now() - report.started;
  if (now - sums.start >= INTERVAL) close(now);
  if (faces.length < least) {
    sums.enough &&= faces.length === 0 && sums.frames === 0;
    return;
  }
  sums.frames += 1;
  sums.faces += faces.length;
  for (const face of faces) EMOTIONS.forEach((emotion, index) => (sums.emotions[index] += face.emotions[emotion]));
}

/** Ends the interval. Its row has means, or no values if too few faces were in view at any time. */
function close(now) {
  const { start, frames, enough, faces, emotions } = sums;
  const fine = enough && frames > 0;
  report.rows.push({
    seconds: Math.round(start / 1000),
    faces: fine ? faces / frames : null,
    emotions: fine ? emotions.map((sum) => sum / faces) : null,
  });
  sums = blank(now);
}

async function begin() {
  const dialog = $("purpose-dialog");
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  const purpose = $("purpose").value.trim();
  if (dialog.returnValue !== "begin" || !purpose) return;
  report = { purpose, started: performance.now(), date: new Date(), rows: [] };
  sums = blank(0);
  show();
}

function end() {
  close(performance.now() - report.started);
  const name = `group-report-${report.date.toISOString().slice(0, 16).replace(/[:T]/g, "-")}`;
  download(`${name}.csv`, csv(), "text/csv");
  download(`${name}.html`, html(), "text/html");
  report = null;
  sums = null;
  show();
}

/** Ends the report and saves it, because the view was left or the video stopped. */
export function stop() {
  if (report) end();
}

function show() {
  $("exposure").hidden = !report;
  $("report-toggle").textContent = report ? "Stop and save" : "Start a report";
}

function csv() {
  const head = ["seconds", "faces", ...EMOTIONS].join(",");
  const cell = (value) => (value === null ? "" : value.toFixed(3));
  const rows = report.rows.map(({ seconds, faces, emotions }) =>
    [seconds, cell(faces), ...(emotions ?? EMOTIONS.map(() => null)).map(cell)].join(","));
  return [head, ...rows].join("\n");
}

const escape = (text) => text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

function html() {
  const cells = ({ seconds, faces, emotions }) => emotions
    ? `<td>${seconds}<td>${faces.toFixed(1)}${emotions.map((share) => `<td>${percent(share)}`).join("")}`
    : `<td>${seconds}<td colspan="${EMOTIONS.length + 1}">fewer than ${least} faces`;
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>Group report</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:right}</style>
<h1>Group report</h1><p>${report.date.toLocaleString()}. Purpose: ${escape(report.purpose)}</p>
<p>Each row holds averages over everyone in view for ten seconds. Nothing was kept about single people, and nothing about intervals
with fewer than ${least} faces. The values are guesses at the labels that people would give to expressions: about one in three is
wrong, and an expression is not a feeling.</p>
<table><tr><th>second<th>faces${EMOTIONS.map((emotion) => `<th>${emotion}`).join("")}
${report.rows.map((row) => `<tr>${cells(row)}`).join("\n")}</table></html>`;
}

export async function start() {
  const model = await serverModel().catch(() => null);
  least = model?.group_report?.min_faces ?? 0;
  $("report-card").hidden = !least;
  if (!least) return;
  $("report-least").textContent = least;
  $("report-toggle").addEventListener("click", () => (report ? end() : begin()));
}
