// The Photo view: choose or take a photo, send it to the server, show boxes, bars and the mood. The page sends the photo only to
// its own server.

import { $, ask, bars, calibration, download, element, percent, sentence, serverModel, spoken } from "./common.js";
import { closeCamera, openCamera, snapshot } from "./camera.js";
import { faceIcon } from "./faces.js";

const ACCEPTED = ["image/jpeg", "image/png", "image/webp"];
/** Boxes narrower than this on screen show only the drawing until they are selected. */
const SMALL_BOX = 84;

let current = { file: null, url: null, analysis: null, selected: 0, request: null };
let facing = "user";

function show(state) {
  $("photo-view").dataset.state = state;
  $("drop").hidden = state !== "empty";
  $("sources").hidden = state !== "empty";
  $("viewfinder").hidden = state !== "camera";
  $("figure").hidden = state !== "busy" && state !== "done";
  $("busy").hidden = state !== "busy";
  $("actions").hidden = state !== "done" && state !== "failed";
  for (const button of ["save-picture", "save-json"]) $(button).hidden = state !== "done";
  $("retry").hidden = true;
  $("intro").hidden = state === "done";
  for (const card of ["mood-card", "face-card"]) $(card).hidden = state !== "done" || !current.analysis?.faces.length;
  if (state !== "done") $("boxes").replaceChildren();
}

function say(text, calm = false) {
  $("message").textContent = text;
  $("message").classList.toggle("calm", calm);
  $("message").hidden = !text;
}

function reset() {
  current.request?.abort();
  if (current.url) URL.revokeObjectURL(current.url);
  current = { file: null, url: null, analysis: null, selected: 0, request: null };
  closeCamera($("preview"));
  $("photo").removeAttribute("src");
  $("file").value = "";
  $("timing").textContent = "";
  say("");
  show("empty");
}

/** Converts a file that the server does not read, such as HEIC, to JPEG if the browser can decode it. */
async function readable(file) {
  if (ACCEPTED.includes(file.type)) return file;
  try {
    const picture = await createImageBitmap(file);
    const canvas = new OffscreenCanvas(picture.width, picture.height);
    canvas.getContext("2d").drawImage(picture, 0, 0);
    return await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  } catch {
    throw new Error(`This browser cannot read ${file.name || "this file"} as a picture. Export it as JPEG and try again.`);
  }
}

export async function take(file) {
  reset();
  try {
    current.file = await readable(file);
  } catch (error) {
    show("failed");
    say(error.message);
    return;
  }
  current.url = URL.createObjectURL(current.file);
  $("photo").src = current.url;
  await analyse();
}

async function analyse() {
  say("");
  show("busy");
  const request = new AbortController();
  current.request = request;
  try {
    const response = await ask("/v1/analyze", current.file, request.signal);
    const analysis = await response.json();
    if (request.signal.aborted) return;
    await $("photo").decode().catch(() => {});
    current.analysis = { ...analysis, faces: inReadingOrder(analysis.faces) };
    current.selected = 0;
    present();
  } catch (error) {
    if (request.signal.aborted) return;
    show("failed");
    $("retry").hidden = Boolean(error.final);
    say(error.message);
  }
}

/** Faces row by row from left to right, the order in which people count them and in which Tab visits them. */
function inReadingOrder(faces) {
  const rows = [];
  for (const face of [...faces].sort((a, b) => a.box.y - b.box.y)) {
    const middle = face.box.y + face.box.height / 2;
    const row = rows.find((other) => Math.abs(other.middle - middle) < face.box.height / 2);
    if (row) row.faces.push(face);
    else rows.push({ middle, faces: [face] });
  }
  return rows.flatMap((row) => row.faces.sort((a, b) => a.box.x - b.box.x));
}

function present() {
  const { faces, timing_ms: timing, model } = current.analysis;
  show("done");
  $("timing").textContent = `${Math.round(timing.total)} ms · ${model.name} on ${model.engine}`;
  if (!faces.length) {
    say("No face was found. A face must be at least about 12 pixels wide and turned towards the camera.", true);
    $("intro").hidden = false;
    return;
  }
  drawBoxes();
  drawMood();
  select(0);
  const names = faces.map(spoken).join("; ");
  $("live-region").textContent = `${faces.length} ${faces.length === 1 ? "face" : "faces"}: ${names}.`;
}

function drawBoxes() {
  const { faces, image } = current.analysis;
  const shown = $("photo").clientWidth / image.width;
  $("boxes").replaceChildren(
    ...faces.map((face, index) => {
      const { x, y, width, height } = face.box;
      const box = element("button", "face");
      box.type = "button";
      box.classList.toggle("small", width * shown < SMALL_BOX && faces.length > 1);
      box.classList.toggle("low", y * shown < 30);
      box.classList.toggle("uncertain", face.uncertain);
      box.classList.toggle("right", (image.width - x) * shown < 120);
      for (const [side, share] of [["left", x / image.width], ["top", y / image.height],
        ["width", width / image.width], ["height", height / image.height]]) {
        box.style.setProperty(side, `${share * 100}%`);
      }
      const share = percent(face.emotions[face.dominant_emotion]);
      const label = `${face.dominant_emotion} ${share}${face.uncertain ? ", uncertain" : ""}`;
      box.setAttribute("aria-label", `Face ${index + 1}: ${label}`);
      const tag = element("span", "tag");
      tag.append(faceIcon(face.dominant_emotion), element("span", "word", label));
      box.append(tag);
      for (const [px, py] of Object.values(face.landmarks)) {
        const point = element("span", "landmark");
        point.style.setProperty("left", `${((px - x) / width) * 100}%`);
        point.style.setProperty("top", `${((py - y) / height) * 100}%`);
        box.append(point);
      }
      box.addEventListener("click", () => select(index));
      return box;
    }),
  );
}

function drawMood() {
  const { mood, faces } = current.analysis;
  $("mood-card").hidden = faces.length < 2;
  $("mood-emoji").replaceChildren(faceIcon(mood.dominant_emotion));
  $("mood-text").textContent = mood.dominant_emotion;
  const agreeing = faces.filter((face) => face.dominant_emotion === mood.dominant_emotion).length;
  $("mood-detail").textContent =
    `${agreeing} of ${mood.faces} faces; mean probability ${percent(mood.mean[mood.dominant_emotion])}`;
}

/** Says what `uncertain` means for this model. The page's own sentence stays if the server does not answer. */
async function explainDoubt() {
  const model = await serverModel().catch(() => null);
  const fitted = model && calibration(model);
  if (!fitted) return;
  $("doubt").textContent = `Uncertain: no label has more than ${percent(fitted.certain_above)} of the probability.
    On FER-2013's test faces, ${percent(fitted.certain)} of the answers have more, and ${percent(fitted.certain_accuracy)} of those are right.`;
}

function select(index) {
  current.selected = index;
  const { faces } = current.analysis;
  const face = faces[index];
  $("face-title").textContent = faces.length > 1 ? `Face ${index + 1} of ${faces.length}` : "The face";
  $("bars").replaceChildren(...bars(face.emotions, face.dominant_emotion));
  $("doubt").hidden = !face.uncertain;
  if (face.uncertain) explainDoubt();
  $("faces").replaceChildren(
    ...(faces.length < 2 ? [] : faces).map((other, position) => {
      const button = element("button", "");
      button.append(faceIcon(other.dominant_emotion));
      button.type = "button";
      button.setAttribute("aria-label", `Face ${position + 1}: ${spoken(other)}`);
      button.setAttribute("aria-pressed", position === index);
      button.addEventListener("click", () => {
        select(position);
        $("faces").children[position].focus();
      });
      return button;
    }),
  );
  [...$("boxes").children].forEach((box, position) => box.setAttribute("aria-pressed", position === index));
}

async function camera() {
  reset();
  show("camera");
  try {
    await openCamera($("preview"), facing);
    $("preview").classList.toggle("mirrored", facing === "user");
    $("shoot").focus();
  } catch (error) {
    reset();
    say(error.message);
  }
}

async function savePicture() {
  try {
    const response = await ask("/v1/annotate", current.file);
    download("annotated.jpg", await response.blob());
  } catch (error) {
    say(sentence(error.message));
  }
}

export function start() {
  $("file").addEventListener("change", (event) => event.target.files[0] && take(event.target.files[0]));
  $("open-camera").addEventListener("click", camera);
  $("turn-camera").addEventListener("click", () => {
    facing = facing === "user" ? "environment" : "user";
    camera();
  });
  $("cancel-camera").addEventListener("click", reset);
  $("shoot").addEventListener("click", async () => {
    const photo = await snapshot($("preview"), 1920, 0.92);
    if (photo) take(photo);
  });
  $("again").addEventListener("click", () => {
    reset();
    $("file").focus();
  });
  $("retry").addEventListener("click", analyse);
  $("save-picture").addEventListener("click", savePicture);
  $("save-json").addEventListener("click", () =>
    download("faces.json", JSON.stringify(current.analysis, null, 2), "application/json"));
  addEventListener("resize", () => {
    if ($("photo-view").dataset.state === "done" && current.analysis.faces.length) {
      drawBoxes();
      select(current.selected);
    }
  });
}

/** Turns the camera off when another view is opened. */
export function leave() {
  if ($("photo-view").dataset.state === "camera") reset();
}
