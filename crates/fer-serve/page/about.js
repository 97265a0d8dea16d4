// The About view: the model card, made of what `/v1/model` says.

import { $, bars, calibration, element, percent, serverModel } from "./common.js";
import { faceIcon } from "./faces.js";

/** The 95 % confidence interval of a proportion `share` of `count` samples (Wilson 1927), in percent. */
function interval(share, count) {
  const z = 1.96;
  const centre = (share + (z * z) / (2 * count)) / (1 + (z * z) / count);
  const reach = (z * Math.sqrt((share * (1 - share)) / count + (z * z) / (4 * count * count))) / (1 + (z * z) / count);
  return [centre - reach, centre + reach].map((bound) => (100 * bound).toFixed(1));
}

/** The confusion matrix: one row for each label, one column for each prediction, in percent of the row. */
function confusion(counts, labels) {
  const head = element("tr", "");
  head.append(element("td", ""));
  for (const label of labels) {
    const cell = element("th", "");
    cell.scope = "col";
    cell.append(faceIcon(label, { named: true }));
    head.append(cell);
  }
  const rows = counts.map((row, index) => {
    const all = row.reduce((sum, count) => sum + count, 0) || 1;
    const line = element("tr", "");
    const name = element("th", "");
    name.append(faceIcon(labels[index]), ` ${labels[index]}`);
    name.scope = "row";
    line.append(name, ...row.map((count) => {
      const cell = element("td", count / all > 0.5 ? "most" : "", Math.round((100 * count) / all).toString());
      cell.style.setProperty("--share", count / all);
      cell.title = `${count} of ${all} (${percent(count / all)})`;
      return cell;
    }));
    return line;
  });
  return [head, ...rows];
}

const line = (term, text) => [element("dt", "", term), element("dd", "", text)];

// Whose labels the answers follow.
const LABELS = {
  fer2013: "FER-2013: one label for each face",
  ferplus: "FER+: what most of ten people say about a face",
};

export async function start() {
  let model;
  try {
    model = await serverModel();
  } catch (error) {
    $("card-text").textContent = error.message ? `${error.message}.` : "The server does not answer.";
    return;
  }
  const { bundle } = model;
  const head = bundle.heads.find(({ label_set }) => label_set === model.labels);
  const [split, score] = Object.entries(head.scores).find(([name]) => name === "PrivateTest")
    ?? Object.entries(head.scores)[0] ?? [];
  const rows = [...line("Model", model.name), ...line("Labels", LABELS[model.labels]), ...line("Engine", model.engine_detail), ...line("Version", model.version)];
  const fitted = calibration(model);
  if (fitted) {
    rows.splice(4, 0, ...line("Certainty", `An answer is certain if its label has more than ${percent(fitted.certain_above)} of the probability. Of
      ${fitted.faces} faces of FER-2013's PublicTest that the detector found in larger pictures, ${percent(fitted.certain)} have such an answer,
      and ${percent(fitted.certain_accuracy)} of these answers are right. Calibration error: ${(100 * fitted.error).toFixed(1)} %.`));
  }
  if (score) {
    const [low, high] = interval(score.accuracy, score.samples);
    const accuracy = (100 * score.accuracy).toFixed(1);
    rows.splice(4, 0, ...line("Accuracy", `${accuracy} % of ${score.samples} faces of FER-2013's ${split} with these labels, as the data set crops them
      (95 % interval ${low} to ${high}). It is one to three points lower if faces must first be detected.`));
    $("recalls").replaceChildren(...bars(score.recall, null));
    $("confusion-card").hidden = !score.confusion;
    if (score.confusion) $("confusion").replaceChildren(...confusion(score.confusion, head.labels));
  }
  $("card-facts").replaceChildren(...rows, ...line("Data", bundle.data_licence));
  $("card-text").textContent = bundle.card;
}
