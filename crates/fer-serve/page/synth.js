// Generates music: scale, tempo and timbre follow the mood and change at the next bar.

/** For each mood: steps of the scale in semitones, lowest note in hertz, seconds per beat, waveform, probability of a note per beat. */
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

/** Plays generated music into an audio node until it is stopped. */
export class Synth {
  #context;
  #output;
  #mood = null;
  #timer = null;
  #step = 2;

  constructor(output) {
    this.#context = output.context;
    this.#output = output;
    this.#bar();
  }

  /** Changes the mood at the next bar; null for silence. */
  play(mood) {
    this.#mood = mood;
  }

  stop() {
    clearTimeout(this.#timer);
  }

  #bar() {
    const style = MOODS[this.#mood];
    const start = this.#context.currentTime + 0.05;
    if (style) {
      for (let beat = 0; beat < BEATS; beat++) {
        if (Math.random() > style.density && beat % 4) continue;
        const highest = 2 * style.scale.length - 1;
        this.#step = Math.max(0, Math.min(highest, this.#step + Math.round((Math.random() - 0.5) * 4)));
        this.#note(style, this.#step, start + beat * style.beat, 0.12);
      }
      this.#note(style, -style.scale.length, start, 0.16, BEATS * style.beat);
    }
    this.#timer = setTimeout(() => this.#bar(), (style ? BEATS * style.beat : 0.5) * 1000);
  }

  #note({ scale, base, beat, wave }, degree, at, loudness, length = 1.6 * beat) {
    const octave = Math.floor(degree / scale.length);
    const semitones = scale[((degree % scale.length) + scale.length) % scale.length] + 12 * octave;
    const context = this.#context;
    const [oscillator, gain, filter] = [context.createOscillator(), context.createGain(), context.createBiquadFilter()];
    oscillator.type = wave;
    oscillator.frequency.value = base * 2 ** (semitones / 12);
    filter.type = "lowpass";
    filter.frequency.value = 1800;
    gain.gain.setValueAtTime(0, at);
    gain.gain.linearRampToValueAtTime(loudness, at + 0.03);
    gain.gain.exponentialRampToValueAtTime(0.001, at + length);
    oscillator.connect(filter).connect(gain).connect(this.#output);
    oscillator.start(at);
    oscillator.stop(at + length + 0.05);
  }
}
