// Starts the page: switches between its three views and takes files that are dropped or pasted.

import { $ } from "./common.js";
import * as about from "./about.js";
import * as live from "./live.js";
import * as photo from "./photo.js";

const VIEWS = ["photo", "live", "about"];
let view = null;

function go() {
  const wanted = VIEWS.find((name) => location.hash === `#${name}`) ?? "photo";
  if (wanted === view) return;
  if (view === "live") live.stop();
  if (view === "photo") photo.leave();
  view = wanted;
  for (const name of VIEWS) {
    $(`${name}-view`).hidden = name !== view;
    $(`${name}-tab`).toggleAttribute("aria-current", name === view);
    if (name === view) $(`${name}-tab`).setAttribute("aria-current", "page");
  }
}

function take(file) {
  if (!file) return;
  if (file.type.startsWith("video/")) {
    location.hash = "#live";
    go();
    live.file(file);
  } else {
    location.hash = "#photo";
    go();
    photo.take(file);
  }
}

addEventListener("hashchange", go);
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
  take(event.dataTransfer.files[0]);
});
photo.start();
live.start();
about.start();
go();
