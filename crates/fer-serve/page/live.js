// The Live view: sends frames of the camera or of a video file over a WebSocket, draws boxes over the picture, and shows the last
// two minutes as a strip.

import { $, EMOTIONS, apiKey, bars, download, element, percent, sentence, wantKey } from "./common.js";
import { closeCamera, openCamera, snapshot } from "./camera.js";
import { faceIcon } from "./faces.js";
import * as group from "./group.js";
import * as music from "./music.js";

/** Longer side of the frames that are sent, in pixels, and how many frames may be unanswered. */
const SIDE = 640;
const ON_THEIR_WAY = 2;
/** Time that the strip shows, in milliseconds. */
const STRIP = 120_000;
/** Most records that are kept for the downloads: those of one face in an hour at ten frames a second. */
const MOST_RECORDS = 36_000;
/** Time between two attempts to reach a server that does not answer, in milliseconds. */
const RETRY = 2000;
/** The code with which the server closes a connection without an API key. */
const POLICY = 1008;

let socket = null;
let running = false;
let paused = false;
let facing = "user";
let fileUrl = null;
let sent = 0;
let answered = 0;
let retry = null;
/** When each unanswered frame was sent, by its number. */
let sentAt = new Map();
/** Times of the last answers, for the number of frames per second. */
let times = [];
let records = [];
/** Name of the video file; null for the camera. */
let sourceName = null;
let strip = [];

const video = () => $("live-video");

function say(text, calm = false) {
  $("live-message").textContent = text;
  $("live-message").classList.toggle("calm", calm);
  $("live-message").hidden = !text;
}

function show(state) {
  $("live-view").dataset.state = state;
  $("live-start").hidden = state !== "empty";
  $("live-stage").hidden = state === "empty";
  $("live-actions").hidden = state === "empty";
  for (const card of ["live-face-card", "live-strip-card"]) $(card).hidden = state === "empty";
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/v1/live?format=records`);
  sent = 0;
  answered = 0;
  sentAt = new Map();
  socket.addEventListener("open", () => {
    say("");
    if (apiKey()) socket.send(JSON.stringify({ api_key: apiKey() }));
  });
  socket.addEventListener("message", (event) => receive(JSON.parse(event.data)));
  socket.addEventListener("close", async (event) => {
    socket = null;
    if (!running) return;
    if (event.code === POLICY && await wantKey()) {
      connect();
      return;
    }
    const why = event.reason ? sentence(event.reason) : "The server does not answer.";
    say(`${why} Trying again…`);
    retry = setTimeout(connect, RETRY);
  });
}

/** Sends a frame whenever fewer than the limit are unanswered. The server drops frames that are out of date. */
async function pump() {
  while (running) {
    const room = socket?.readyState === WebSocket.OPEN && sent - answered < ON_THEIR_WAY && socket.bufferedAmount === 0;
    if (room && !paused && !video().paused && !video().ended) {
      const frame = await snapshot(video(), SIDE, 0.8);
      if (frame && socket?.readyState === WebSocket.OPEN) {
        sent += 1;
        sentAt.set(sent, performance.now());
        socket.send(frame);
      }
    }
    await new Promise((resume) => setTimeout(resume, room ? 15 : 30));
  }
}

function receive(answer) {
  const now = performance.now();
  answered = answer.frame;
  const delay = now - (sentAt.get(answer.frame) ?? now);
  for (const number of sentAt.keys()) if (number <= answer.frame) sentAt.delete(number);
  keep(answer);
  if (answer.error) {
    say(sentence(answer.error.message));
    return;
  }
  times.push(now);
  times = times.filter((time) => now - time < 2000);
  const rate = times.length > 1 ? ((times.length - 1) * 1000) / (now - times[0]) : 0;
  const dropped = answer.dropped ? ` · ${answer.dropped} dropped` : "";
  $("live-rate").textContent = `${rate.toFixed(1)} frames/s · ${Math.round(delay)} ms${dropped}`;
  draw(answer);
  const faces = answer.faces;
  const largest = faces.reduce((best, face) => (best && best.box.width >= face.box.width ? best : face), null);
  $("live-face-title").textContent = largest ? `Face ${largest.track_id}` : "No face";
  $("live-bars").replaceChildren(...(largest ? bars(largest.emotions, largest.dominant_emotion) : []));
  const mood = moodOf(faces);
  $("live-mood").replaceChildren(...(mood ? [faceIcon(mood), ` ${mood}`] : ["–"]));
  music.mood(mood);
  group.frame(faces);
  drawStrip(now, faces);
}

/** The label of most faces. A tie goes to the label with the higher mean probability. */
function moodOf(faces) {
  if (!faces.length) return null;
  const mean = (emotion) => faces.reduce((sum, face) => sum + face.emotions[emotion], 0) / faces.length;
  const votes = (emotion) => faces.filter((face) => face.dominant_emotion === emotion).length;
  return EMOTIONS.reduce((best, next) => {
    const more = votes(next) - votes(best) || mean(next) - mean(best);
    return more > 0 ? next : best;
  });
}

/** Keeps the server's records of a frame. `raw_emotions`, beside the columns, are the probabilities before smoothing. */
function keep(answer) {
  records.push(...answer.records.map((record) => ({
    ...record,
    source: sourceName,
    raw_emotions: answer.faces?.[record.face]?.raw_emotions ?? null,
  })));
  if (records.length > MOST_RECORDS) records = records.slice(-MOST_RECORDS);
}

/** The records as CSV. The columns are those of the server's `FaceRecord`, in its order. */
function csv() {
  const columns = Object.keys(records[0] ?? {}).filter((name) => name !== "raw_emotions");
  const cell = (value) => {
    if (typeof value === "number" && !Number.isInteger(value)) return value.toFixed(4);
    const text = String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns.join(","), ...records.map((row) => columns.map((name) => cell(row[name])).join(","))].join("\n");
}

function draw(answer) {
  const { width, height } = answer.image;
  const mirrored = video().classList.contains("mirrored");
  $("live-boxes").replaceChildren(
    ...answer.faces.map((face) => {
      const box = element("div", "face still");
      box.classList.toggle("uncertain", face.uncertain);
      box.classList.toggle("low", face.box.y / height < 0.08);
      const left = mirrored ? width - face.box.x - face.box.width : face.box.x;
      for (const [side, share] of [["left", left / width], ["top", face.box.y / height],
        ["width", face.box.width / width], ["height", face.box.height / height]]) {
        box.style.setProperty(side, `${share * 100}%`);
      }
      const label = `${face.dominant_emotion} ${percent(face.emotions[face.dominant_emotion])}`;
      const tag = element("span", "tag");
      tag.append(faceIcon(face.dominant_emotion), element("span", "word", face.uncertain ? `${label}, uncertain` : label));
      box.append(tag);
      return box;
    }),
  );
}

/** The mean probabilities of everyone in view, stacked, the newest at the right. */
function drawStrip(now, faces) {
  const mean = EMOTIONS.map((emotion) =>
    faces.length ? faces.reduce((sum, face) => sum + face.emotions[emotion], 0) / faces.length : 0);
  strip.push({ now, mean });
  strip = strip.filter((entry) => now - entry.now < STRIP);
  const canvas = $("live-strip");
  const context = canvas.getContext("2d");
  const colours = getComputedStyle(canvas);
  context.clearRect(0, 0, canvas.width, canvas.height);
  const at = (time) => canvas.width * (1 - (now - time) / STRIP);
  strip.forEach((entry, index) => {
    const left = at(entry.now);
    const right = index + 1 < strip.length ? Math.min(at(strip[index + 1].now), left + 12) : canvas.width;
    let bottom = canvas.height;
    entry.mean.forEach((share, emotion) => {
      const part = share * canvas.height;
      context.fillStyle = colours.getPropertyValue(`--${EMOTIONS[emotion]}`);
      context.fillRect(left, bottom - part, Math.max(1, right - left + 0.5), part);
      bottom -= part;
    });
  });
}

async function begin(open) {
  say("");
  try {
    await open();
  } catch (error) {
    stop();
    say(error.message);
    return;
  }
  records = [];
  strip = [];
  times = [];
  paused = false;
  $("live-pause").textContent = "Pause";
  show("running");
  if (!running) {
    running = true;
    connect();
    pump();
  }
}

const camera = () => begin(async () => {
  await openCamera(video(), facing);
  sourceName = null;
  video().classList.toggle("mirrored", facing === "user");
  $("live-turn").hidden = false;
});

export const file = (chosen) => begin(async () => {
  closeCamera(video());
  if (fileUrl) URL.revokeObjectURL(fileUrl);
  fileUrl = URL.createObjectURL(chosen);
  sourceName = chosen.name || null;
  video().classList.remove("mirrored");
  $("live-turn").hidden = true;
  video().src = fileUrl;
  video().loop = false;
  try {
    await video().play();
  } catch {
    throw new Error(`${chosen.name || "This file"} cannot be played by this browser.`);
  }
});

export function stop() {
  group.stop();
  running = false;
  clearTimeout(retry);
  socket?.close();
  socket = null;
  closeCamera(video());
  video().removeAttribute("src");
  if (fileUrl) URL.revokeObjectURL(fileUrl);
  fileUrl = null;
  $("live-boxes").replaceChildren();
  $("live-rate").textContent = "";
  music.end();
  say("");
  show("empty");
}

export function start() {
  $("live-camera").addEventListener("click", camera);
  $("live-turn").addEventListener("click", () => {
    facing = facing === "user" ? "environment" : "user";
    closeCamera(video());
    camera();
  });
  $("live-file").addEventListener("change", (event) => event.target.files[0] && file(event.target.files[0]));
  $("live-pause").addEventListener("click", () => {
    paused = !paused;
    if (paused) video().pause();
    else video().play();
    $("live-pause").textContent = paused ? "Continue" : "Pause";
  });
  $("live-stop").addEventListener("click", stop);
  $("live-csv").addEventListener("click", () => download("faces.csv", csv(), "text/csv"));
  $("live-json").addEventListener("click", () =>
    download("faces.json", JSON.stringify(records, null, 1), "application/json"));
  $("live-legend").replaceChildren(...EMOTIONS.map((emotion) => {
    const entry = element("li", "");
    entry.append(faceIcon(emotion), ` ${emotion}`);
    entry.style.setProperty("--bar", `var(--${emotion})`);
    return entry;
  }));
  music.start();
  group.start();
}
