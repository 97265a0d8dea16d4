// Music of the operator's own: files by mood, one after the other, faded over into each other.

import { call } from "./common.js";

/** Seconds in which one song fades out and the next one in. */
const FADE = 2;

/** Names of files by mood; empty where the server has none. */
export async function songList() {
  const response = await call("/v1/music");
  return response.ok ? response.json() : {};
}

/** Plays into an audio node until it is stopped. */
export class Songs {
  #output;
  #list;
  #mood = null;
  #playing = null;
  /** Counts changes of the mood: what was asked for before the last one comes too late. */
  #turn = 0;

  constructor(output, list) {
    this.#output = output;
    this.#list = list;
  }

  has(mood) {
    return Boolean(this.#list[mood]?.length);
  }

  /** Goes over to a song for the mood; null, or a mood without one, for silence. */
  play(mood) {
    if (mood === this.#mood) return;
    this.#mood = mood;
    this.#turn += 1;
    this.#fadeOut();
    if (this.has(mood)) this.#next(mood, this.#turn);
  }

  stop() {
    this.play(null);
  }

  async #next(mood, turn) {
    const names = this.#list[mood];
    const name = names[Math.floor(Math.random() * names.length)];
    const response = await call(`/v1/music/${mood}/${encodeURIComponent(name)}`).catch(() => null);
    const song = response?.ok ? await response.blob() : null;
    if (!song || this.#turn !== turn) return;
    const audio = new Audio(URL.createObjectURL(song));
    const context = this.#output.context;
    const gain = context.createGain();
    gain.gain.setValueAtTime(0, context.currentTime);
    gain.gain.linearRampToValueAtTime(1, context.currentTime + FADE);
    context.createMediaElementSource(audio).connect(gain).connect(this.#output);
    this.#playing = { audio, gain };
    audio.addEventListener("ended", () => {
      URL.revokeObjectURL(audio.src);
      if (this.#turn === turn) this.#next(mood, turn);
    });
    audio.play().catch(() => {});
  }

  #fadeOut() {
    if (!this.#playing) return;
    const { audio, gain } = this.#playing;
    this.#playing = null;
    const now = this.#output.context.currentTime;
    gain.gain.cancelScheduledValues(now);
    gain.gain.setValueAtTime(gain.gain.value, now);
    gain.gain.linearRampToValueAtTime(0, now + FADE);
    setTimeout(() => {
      audio.pause();
      URL.revokeObjectURL(audio.src);
    }, FADE * 1000);
  }
}
