// What the parts of the page share: names, small helpers, and how the server is asked.

export const EMOTIONS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"];
export const EMOJI =
  { angry: "😠", disgust: "🤢", fear: "😨", happy: "😀", sad: "😢", surprise: "😮", neutral: "😐" };

export const $ = (id) => document.getElementById(id);
export const percent = (share) => `${Math.round(share * 100)} %`;
export const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

export function element(tag, className, text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

/** The label, with a warning where the model itself holds another one for as likely. */
export const spoken = (face) => `${face.dominant_emotion}${face.uncertain ? ", uncertain" : ""}`;

/** Rows of emoji, name, bar and number; the dominant one stands out. */
export function bars(emotions, dominant) {
  return Object.entries(emotions).map(([emotion, share]) => {
    const row = element("li", emotion === dominant ? "top" : "");
    const emoji = element("span", "", EMOJI[emotion]);
    emoji.setAttribute("aria-hidden", "true");
    const track = element("span", "track");
    const fill = element("span", "fill");
    fill.style.setProperty("--share", share);
    track.append(fill);
    row.append(emoji, element("span", "", emotion), track, element("span", "value", percent(share)));
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

/** The API key, where the server wants one; kept until the browser's tab is closed. */
export const apiKey = () => sessionStorage.getItem("api-key");

/** Asks the person for the key; false where there is none to be had. */
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

/** `fetch` with the key, which is asked for where the server wants another. */
export async function call(path, options = {}) {
  for (;;) {
    const key = apiKey();
    const headers = { ...options.headers, ...(key ? { "x-api-key": key } : {}) };
    const response = await fetch(path, { ...options, headers });
    if (response.status !== 401 || !(await wantKey())) return response;
  }
}

let model = null;

/** What the server says of its model; asked once, however many want to know. */
export function serverModel() {
  model ??= call("/v1/model").then(async (response) => {
    const body = await response.json();
    if (!response.ok) throw new Error(body.error.message);
    return body;
  });
  return model;
}

/**
 * The server's answer, or an error with a sentence for people; `final` where the same photo would get the same again.
 * A busy server is asked a few times.
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
