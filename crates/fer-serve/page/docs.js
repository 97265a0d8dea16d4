// Lays out openapi.json for people: each route with what it takes and gives.

import { $, element } from "./common.js";

const resolve = (document, thing) =>
  thing.$ref ? thing.$ref.slice(2).split("/").reduce((place, key) => place[key], document) : thing;

/** A schema as an example would look, with the names of types in place of values. */
function shape(document, schema, depth = 0) {
  const { type, properties, items, oneOf, allOf, enum: values, const: only } = resolve(document, schema);
  if (depth > 6) return "…";
  if (allOf) return Object.assign({}, ...allOf.map((one) => shape(document, one, depth + 1)));
  if (oneOf) return oneOf.map((one) => shape(document, one, depth + 1)).find((one) => one !== "null");
  if (properties) {
    return Object.fromEntries(Object.entries(properties).map(([name, one]) => [name, shape(document, one, depth + 1)]));
  }
  if (items) return [shape(document, items, depth + 1)];
  return only ?? (values ? values.join(" | ") : [type].flat().join(" | "));
}

function operation(document, path, method, { summary, requestBody, responses }) {
  const card = element("article", "card");
  card.append(element("h2", "route", `${method.toUpperCase()} ${path}`), element("p", "", summary));
  if (requestBody) card.append(element("p", "detail", `Takes ${Object.keys(requestBody.content).join(", ")}`));
  const list = element("dl", "");
  for (const [status, answer] of Object.entries(responses)) {
    list.append(element("dt", "", status), element("dd", "", resolve(document, answer).description));
  }
  card.append(list);
  const schema = responses[200]?.content?.["application/json"]?.schema;
  if (schema) {
    const details = element("details", "");
    details.append(element("summary", "", "What it gives"));
    details.append(element("pre", "", JSON.stringify(shape(document, schema), null, 2)));
    card.append(details);
  }
  return card;
}

const document_ = await (await fetch("/openapi.json")).json();
const routes = Object.entries(document_.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, one]) => operation(document_, path, method, one)));
$("api").replaceChildren(element("p", "", document_.info.description), ...routes);
