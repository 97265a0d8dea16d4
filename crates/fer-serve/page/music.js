// Music by mood: a small generative player. Scale, tempo and timbre follow the mood, and change at the next bar.

import { $ } from "./common.js";

/** Steps of the scale in semitones, lowest note in hertz, seconds a beat, waveform, how often a beat has a note. */
const MOODS = {
  happy: { scale: [0, 2, 4, 7, 9], base: 262, beat: 0.28, wave: "triangle", density: 0.85 },
  surprise: { scale: [0, 2, 4, 6, 8, 10], base: 294, beat: 0.24, wave: "square", density: 0.6 },
  neutral: { scale: [0, 2, 5, 7, 9], base: 220, beat: 0.45, wave: "sine", density: 0.55 },
  sad: { scale: [0, 2, 3, 7, 8], base: 175, beat: 0.7, wave: "sine", density: 0.6 },
  angry: { scale: [0, 1, 3, 6, 7], base: 110, beat: 0.22, wave: "sawtooth", density: 0.9 },
  fear: { scale: [0, 1, 4, 6, 7], base: 147, beat: 0.55, wave: "triangle", density: 0.4 },
  disgust: { scale: [0, 1, 5, 6, 10], base: 131, beat: 0.5, wave: "sawtooth", density: 0.45 },
};
const BEATS = 8;
/** Milliseconds that a mood must last before the music follows it. */
const PATIENCE = 1500;

let context = null;
let volume = null;
let playing = null;
let heard = null;
let since = 0;
let timer = null;
let step = 2;

/** What the group shows now; null for nobody. */
export function mood(name) {
  if (name !== heard) {
    heard = name;
    since = performance.now();
  }
  $("music-mood").textContent = context && playing ? `playing for ${playing}` : "";
}

function bar() {
  if (!context) return;
  if (heard && (playing === null || performance.now() - since > PATIENCE)) playing = heard;
  if (!heard && performance.now() - since > 2 * PATIENCE) playing = null;
  const style = MOODS[playing];
  const start = context.currentTime + 0.05;
  if (style) {
    for (let beat = 0; beat < BEATS; beat++) {
      if (Math.random() > style.density && beat % 4) continue;
      step = Math.max(0, Math.min(2 * style.scale.length - 1, step + Math.round((Math.random() - 0.5) * 4)));
      note(style, step, start + beat * style.beat, 0.12);
    }
    note(style, -style.scale.length, start, 0.16, BEATS * style.beat);
  }
  timer = setTimeout(bar, (style ? BEATS * style.beat : 0.5) * 1000);
}

function note({ scale, base, beat, wave }, degree, at, loudness, length = 1.6 * beat) {
  const octave = Math.floor(degree / scale.length);
  const semitones = scale[((degree % scale.length) + scale.length) % scale.length] + 12 * octave;
  const [oscillator, gain, filter] = [context.createOscillator(), context.createGain(), context.createBiquadFilter()];
  oscillator.type = wave;
  oscillator.frequency.value = base * 2 ** (semitones / 12);
  filter.type = "lowpass";
  filter.frequency.value = 1800;
  gain.gain.setValueAtTime(0, at);
  gain.gain.linearRampToValueAtTime(loudness, at + 0.03);
  gain.gain.exponentialRampToValueAtTime(0.001, at + length);
  oscillator.connect(filter).connect(gain).connect(volume);
  oscillator.start(at);
  oscillator.stop(at + length + 0.05);
}

function toggle() {
  if (context) {
    clearTimeout(timer);
    const ending = context;
    volume.gain.linearRampToValueAtTime(0, ending.currentTime + 0.4);
    setTimeout(() => ending.close(), 500);
    context = null;
    playing = null;
  } else {
    context = new AudioContext();
    volume = context.createGain();
    volume.gain.value = 0.5;
    volume.connect(context.destination);
    bar();
  }
  $("music").setAttribute("aria-pressed", Boolean(context));
  $("music").textContent = context ? "Music off" : "Music by mood";
  $("music-mood").textContent = "";
}

export function start() {
  $("music").addEventListener("click", toggle);
}
