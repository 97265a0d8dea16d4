// The page's behaviour: take a photo, ask the server, show boxes, bars and the mood. No photo leaves the page
// but for that one request.

const EMOJI = { angry: "😠", disgust: "🤢", fear: "😨", happy: "😀", sad: "😢", surprise: "😮", neutral: "😐" };
const ACCEPTED = ["image/jpeg", "image/png", "image/webp"];
/** Boxes narrower than this on screen show only the emoji until they are selected. */
const SMALL_BOX = 84;

const $ = (id) => document.getElementById(id);
const percent = (share) => `${Math.round(share * 100)} %`;

let current = { file: null, url: null, analysis: null, selected: 0, request: null };

function show(state) {
  document.body.dataset.state = state;
  $("drop").hidden = state !== "empty";
  $("figure").hidden = state === "empty" || state === "failed";
  $("busy").hidden = state !== "busy";
  $("actions").hidden = state === "empty" || state === "busy";
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
  $("photo").removeAttribute("src");
  $("file").value = "";
  $("timing").textContent = "";
  say("");
  show("empty");
}

async function take(file) {
  reset();
  if (!ACCEPTED.includes(file.type)) {
    show("failed");
    say(`${file.name || "This"} is not a JPEG, PNG or WebP picture. Phones that save HEIC can export JPEG.`);
    return;
  }
  current.file = file;
  current.url = URL.createObjectURL(file);
  $("photo").src = current.url;
  await analyse();
}

async function analyse() {
  say("");
  show("busy");
  const request = new AbortController();
  current.request = request;
  try {
    const analysis = await ask(current.file, request.signal);
    if (request.signal.aborted) return;
    await $("photo").decode().catch(() => {});
    current.analysis = analysis;
    current.selected = 0;
    present();
  } catch (error) {
    if (request.signal.aborted) return;
    show("failed");
    $("retry").hidden = Boolean(error.final);
    say(error.message);
  }
}

/**
 * The server's answer, or an error with a sentence for people; `final` where the same photo would get the same again.
 * A busy server is asked a few times.
 */
async function ask(file, signal) {
  for (let attempt = 1; ; attempt++) {
    let response;
    try {
      response = await fetch("/v1/analyze", { method: "POST", headers: { "content-type": file.type }, body: file, signal });
    } catch (error) {
      if (signal.aborted) throw error;
      throw new Error("The server does not answer. Is it still running?");
    }
    const body = await response.json().catch(() => null);
    if (response.ok && body) return body;
    if (response.status !== 503 || attempt === 5) {
      const text = sentence(body?.error?.message ?? `the server answered ${response.status}`);
      throw Object.assign(new Error(text), { final: response.status < 500 });
    }
    const seconds = Number(response.headers.get("retry-after")) || 1;
    await new Promise((resume) => setTimeout(resume, seconds * 1000));
  }
}

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

function present() {
  const { faces, timing_ms: timing, model } = current.analysis;
  show("done");
  $("timing").textContent = `${Math.round(timing.total)} ms · ${model.name} on ${model.engine}`;
  if (!faces.length) {
    say("No face was found. Faces need about 20 pixels, turned towards the camera.", true);
    $("intro").hidden = false;
    return;
  }
  drawBoxes();
  drawMood();
  select(0);
  const names = faces.map(spoken).join(", ");
  $("live").textContent = `${faces.length} ${faces.length === 1 ? "face" : "faces"}: ${names}.`;
}

/** The label, with a warning where the model itself holds another one for as likely. */
const spoken = (face) => `${face.dominant_emotion}${face.uncertain ? ", uncertain" : ""}`;

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
      const tag = element("span", "tag", `${EMOJI[face.dominant_emotion]} `);
      tag.append(element("span", "word", label));
      box.append(tag);
      box.addEventListener("click", () => select(index));
      return box;
    }),
  );
}

function drawMood() {
  const { mood, faces } = current.analysis;
  $("mood-card").hidden = faces.length < 2;
  $("mood-emoji").textContent = EMOJI[mood.dominant_emotion];
  $("mood-text").textContent = mood.dominant_emotion;
  const agreeing = faces.filter((face) => face.dominant_emotion === mood.dominant_emotion).length;
  $("mood-detail").textContent =
    `${agreeing} of ${mood.faces} faces; mean probability ${percent(mood.mean[mood.dominant_emotion])}`;
}

function select(index) {
  current.selected = index;
  const { faces } = current.analysis;
  const face = faces[index];
  $("face-title").textContent = faces.length > 1 ? `Face ${index + 1} of ${faces.length}` : "The face";
  $("bars").replaceChildren(
    ...Object.entries(face.emotions).map(([emotion, share]) => {
      const row = element("li", emotion === face.dominant_emotion ? "top" : "");
      const emoji = element("span", "", EMOJI[emotion]);
      emoji.setAttribute("aria-hidden", "true");
      const track = element("span", "track");
      const fill = element("span", "fill");
      fill.style.setProperty("--share", share);
      track.append(fill);
      row.append(emoji, element("span", "", emotion), track, element("span", "value", percent(share)));
      return row;
    }),
  );
  $("doubt").hidden = !face.uncertain;
  $("faces").replaceChildren(
    ...(faces.length < 2 ? [] : faces).map((other, position) => {
      const button = element("button", "", EMOJI[other.dominant_emotion]);
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

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

async function describeServer() {
  try {
    const model = await (await fetch("/v1/model")).json();
    const score = model.bundle?.scores?.PrivateTest;
    const accuracy = score ? `, ${(score.accuracy * 100).toFixed(1)} % on FER-2013 PrivateTest` : "";
    $("engine").textContent = `${model.name} on ${model.engine}${accuracy}`;
  } catch {
    $("engine").textContent = "";
  }
}

$("file").addEventListener("change", (event) => event.target.files[0] && take(event.target.files[0]));
$("again").addEventListener("click", () => {
  reset();
  $("file").focus();
});
$("retry").addEventListener("click", analyse);
addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((item) => item.type.startsWith("image/"));
  if (file) take(file);
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
});
addEventListener("resize", () => {
  if (document.body.dataset.state === "done" && current.analysis.faces.length) {
    drawBoxes();
    select(current.selected);
  }
});
describeServer();
