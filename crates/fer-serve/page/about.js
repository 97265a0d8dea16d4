// About: the model card, from what the server says of its bundle.

import { $, bars, element, serverModel } from "./common.js";

/** 95 % interval of a share of so many (Wilson 1927). */
function interval(share, count) {
  const z = 1.96;
  const centre = (share + (z * z) / (2 * count)) / (1 + (z * z) / count);
  const reach = (z * Math.sqrt((share * (1 - share)) / count + (z * z) / (4 * count * count))) / (1 + (z * z) / count);
  return [centre - reach, centre + reach].map((bound) => (100 * bound).toFixed(1));
}

const line = (term, text) => [element("dt", "", term), element("dd", "", text)];

export async function start() {
  let model;
  try {
    model = await serverModel();
  } catch (error) {
    $("card-text").textContent = error.message ? `${error.message}.` : "The server does not answer.";
    return;
  }
  const { bundle } = model;
  const [split, score] = Object.entries(bundle.scores).find(([name]) => name === "PrivateTest")
    ?? Object.entries(bundle.scores)[0] ?? [];
  const rows = [...line("Model", model.name), ...line("Engine", model.engine_detail), ...line("Version", model.version)];
  if (score) {
    const [low, high] = interval(score.accuracy, score.samples);
    const accuracy = (100 * score.accuracy).toFixed(1);
    rows.splice(2, 0, ...line("Right", `${accuracy} % of ${score.samples} faces of FER-2013's ${split}, cut out as the
      data set has them (95 % interval ${low} to ${high}); about three points less where faces must be found first`));
    $("recalls").replaceChildren(...bars(score.recall, null));
  }
  $("card-facts").replaceChildren(...rows, ...line("Data", bundle.data_licence));
  $("card-text").textContent = bundle.card;
}
