// Plays the operator's music files for a mood, one after the other, and fades between them.

import { call } from "./common.js";

/** Length of the fade between two songs, in seconds. */
const FADE = 2;

/** The names of the server's music files by mood. Empty if the server has none. */
export async function songList() {
  const response = await call("/v1/music");
  return response.ok ? response.json() : {};
}

/** Plays songs into an audio node. */
export class Songs {
  #output;
  #list;
  #mood = null;
  #playing = null;
  /** Counts changes of the mood, so that a song that was requested for an earlier mood is not played. */
  #turn = 0;

  constructor(output, list) {
    this.#output = output;
    this.#list = list;
  }

  has(mood) {
    return Boolean(this.#list[mood]?.length);
  }

  /** Changes to a song for the mood. Silent for null and for a mood without songs. */
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
