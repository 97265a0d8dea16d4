// Music by mood: decides which mood is played and by which player. The operator's songs are played for moods that have some;
// generated music is played for the others.

import { $ } from "./common.js";
import { songList, Songs } from "./songs.js";
import { Synth } from "./synth.js";

/** Milliseconds that a mood must last before the music changes, and that nobody must be in view before the music ends. */
const PATIENCE = 1500;
const SILENCE = 3000;
/** Length of the fade when the music is switched off, in milliseconds. */
const ENDING = 400;

/** The audio context, the volume and the two players while music is on; otherwise null. */
let on = null;
let playing = null;
let heard = null;
let since = 0;

/** Takes the current mood of the group; null if nobody is in view. */
export function mood(name) {
  const now = performance.now();
  if (name !== heard) {
    heard = name;
    since = now;
  }
  if (!on) return;
  const lasting = now - since;
  if (heard && (playing === null || lasting > PATIENCE)) follow(heard);
  else if (!heard && lasting > SILENCE) follow(null);
}

/** Ends the music, because the video ended. */
export function end() {
  heard = null;
  if (on) follow(null);
}

function follow(name) {
  if (name === playing) return;
  playing = name;
  const own = on.songs.has(name);
  on.songs.play(own ? name : null);
  on.synth.play(own ? null : name);
  $("music-mood").textContent = name ? `playing for ${name}` : "";
}

function toggle() {
  if (on) {
    const { context, volume, synth, songs } = on;
    on = null;
    playing = null;
    synth.stop();
    songs.stop();
    volume.gain.setTargetAtTime(0, context.currentTime, ENDING / 4000);
    setTimeout(() => context.close(), ENDING);
  } else {
    const context = new AudioContext();
    const volume = context.createGain();
    volume.gain.value = 0.5;
    volume.connect(context.destination);
    on = { context, volume, synth: new Synth(volume), songs: new Songs(volume, {}) };
    const mine = on;
    songList().catch(() => ({})).then((list) => {
      mine.songs = new Songs(volume, list);
      if (on === mine && playing) {
        playing = null;
        mood(heard);
      }
    });
  }
  $("music").setAttribute("aria-pressed", Boolean(on));
  $("music").textContent = on ? "Music off" : "Music by mood";
  $("music-mood").textContent = "";
}

export function start() {
  $("music").addEventListener("click", toggle);
}
