// What the parts of the page share: names, small functions for the document, and requests to the server.

import { faceIcon } from "./faces.js";

export const EMOTIONS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"];

export const $ = (id) => document.getElementById(id);
export const percent = (share) => `${Math.round(share * 100)} %`;
export const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

export function element(tag, className, text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

/** The label as it is read out. It says so when the answer is uncertain. */
export const spoken = (face) => `${face.dominant_emotion}${face.uncertain ? ", uncertain" : ""}`;

/** One row for each emotion: drawing, name, bar and number. The dominant emotion stands out. */
export function bars(emotions, dominant) {
  return Object.entries(emotions).map(([emotion, share]) => {
    const row = element("li", emotion === dominant ? "top" : "");
    const track = element("span", "track");
    const fill = element("span", "fill");
    fill.style.setProperty("--share", share);
    track.append(fill);
    row.append(faceIcon(emotion), element("span", "", emotion), track, element("span", "value", percent(share)));
    return row;
  });
}

/** Offers bytes or text as a file. */
export function download(name, content, type) {
  const link = element("a", "");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** The API key that the person gave, if any. The browser keeps it until the tab is closed. */
export const apiKey = () => sessionStorage.getItem("api-key");

/** Asks the person for the API key. Resolves to false if the person gives none. */
export function wantKey() {
  const dialog = $("key-dialog");
  $("key").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => {
    const given = dialog.returnValue === "use" && $("key").value.trim();
    if (given) sessionStorage.setItem("api-key", given);
    resolve(Boolean(given));
  }, { once: true }));
}

/** `fetch` with the API key. If the server refuses the key, asks the person for another one. */
export async function call(path, options = {}) {
  for (;;) {
    const key = apiKey();
    const headers = { ...options.headers, ...(key ? { "x-api-key": key } : {}) };
    const response = await fetch(path, { ...options, headers });
    if (response.status !== 401 || !(await wantKey())) return response;
  }
}

let model = null;

/** The server's description of its model. The request is sent only once. */
export function serverModel() {
  model ??= call("/v1/model").then(async (response) => {
    const body = await response.json();
    if (!response.ok) throw new Error(body.error.message);
    return body;
  });
  return model;
}

/** How the answering head of the server's model was calibrated; null if it was not. */
export const calibration = ({ bundle, labels }) =>
  bundle.heads.find(({ label_set }) => label_set === labels).calibration ?? null;

/**
 * Sends a file and returns the server's response. A busy server is asked up to five times.
 *
 * Throws an error whose message is a sentence for people. Its `final` is true if the same file would fail again.
 */
export async function ask(path, file, signal) {
  for (let attempt = 1; ; attempt++) {
    let response;
    try {
      response = await call(path, { method: "POST", headers: { "content-type": file.type }, body: file, signal });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Error("The server does not answer. Is it still running?");
    }
    if (response.ok) return response;
    const body = await response.json().catch(() => null);
    if (response.status !== 503 || attempt === 5) {
      const text = sentence(body?.error?.message ?? `the server answered ${response.status}`);
      throw Object.assign(new Error(text), { final: response.status < 500 });
    }
    const seconds = Number(response.headers.get("retry-after")) || 1;
    await new Promise((resume) => setTimeout(resume, seconds * 1000));
  }
}
