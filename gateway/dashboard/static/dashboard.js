// Fills the page: totals, usage, budgets, latest requests. Refuses to compute: every number is the gateway's.

import * as api from "/dashboard/api.js";
import { amount, bar, card, count, element, moment, named, range, spread, table, zone } from "/dashboard/parts.js";

const QUANTITIES = [["Energy", "energy_wh", "Wh"], ["Water", "water_ml", "mL"], ["Carbon (CO2e)", "carbon_g", "g"]];
const small = (title) => title[0].toLowerCase() + title.slice(1);
let shownAt = "";
const at = (id) => document.getElementById(id);

function say(text, isError = false) {
  at("status").textContent = text;
  at("status").classList.toggle("error", isError);
}

function withRange(row, key, unit) {
  const known = range(row, key);
  return element(
    "div",
    {},
    amount(known?.central, unit),
    element("div", { class: "range" }, spread(known, unit)),
  );
}

async function showTotals() {
  // No row: nothing was asked this month, so the sums are known to be zero.
  const { data, period } = await api.totals();
  const row = data[0] ?? { energy_wh: 0, water_ml: 0, carbon_g: 0, images: 0, requests: 0, cost_usd: 0, avoided_carbon_g: 0 };
  const quantity = ([title, key, unit]) => {
    const known = range(row, key);
    return card(title, amount(known?.central, unit), spread(known, unit));
  };
  at("totals").replaceChildren(
    ...QUANTITIES.map(quantity),
    card("Carbon avoided (CO2e)", amount(row.avoided_carbon_g ?? undefined, "g"), "against an even spread over the deployments; below 0, more was caused"),
    card("Images", count(row.images), ""),
    card("Cost", amount(row.cost_usd, "USD"), unpriced(row)),
    card("Requests", count(row.requests), row.refused > 0 ? `${count(row.refused)} of them refused` : ""),
  );
  at("totals-title").textContent = `This month (${period.timezone})`;
}

function unpriced(row) {
  return row.unpriced_requests > 0 ? `${count(row.unpriced_requests)} requests of unknown cost` : "";
}

async function showUsage() {
  const group = at("group").value;
  const rows = (await api.usageBy(group)).data;
  const carbon = (row) => range(row, "carbon_g")?.central ?? 0;
  const most = Math.max(...rows.map(carbon), Number.MIN_VALUE);
  rows.sort((one, other) => carbon(other) - carbon(one));
  at("usage").replaceChildren(table(
    `Month so far by ${group}; the bar compares carbon.`,
    [
      [group, (row) => row.group?.[group] ?? "none"],
      ["share", (row) => bar(["used", carbon(row) / most])],
      ["requests", (row) => count(row.requests), "number"],
      ["images", (row) => count(row.images), "number"],
      ...QUANTITIES.map(([title, key, unit]) => [small(title), (row) => withRange(row, key, unit), "number"]),
      ["cost", (row) => amount(row.cost_usd, "USD"), "number"],
    ],
    rows,
    "Nothing was generated this month.",
  ));
}

function share(row) {
  if (!(row.limit > 0)) return "";
  return bar([row.used > row.limit ? "over" : "used", row.used / row.limit], ["held", row.held / row.limit]);
}

async function showBudgets() {
  const rows = (await api.budgets()).data;
  const unit = (row) => (row.dimension === "images" ? "" : row.unit);
  const figure = (title, key) => [title, (row) => amount(row[key], unit(row)), "number"];
  const limited = (key) => [key, (row) => (row.unlimited ? "unlimited" : amount(row[key], unit(row))), "number"];
  at("budgets").replaceChildren(table(
    "One row for each limit that applies to you.",
    [
      ["budget", (row) => row.policy],
      ["for", (row) => named(row.scope)],
      ["counts", (row) => (row.dimension === "carbon" ? "carbon (CO2e)" : row.dimension)],
      ["share", share],
      figure("used", "used"), figure("held", "held"), limited("remaining"), limited("limit"),
      ["until", (row) => (row.window?.end ? moment(row.window.end) : "unknown")],
    ],
    rows,
    "No budget applies to you.",
  ));
}

async function showDetails(id) {
  const path = api.requestPath(id);
  at("details-url").textContent = path;
  at("details-json").textContent = JSON.stringify(await api.read(path), null, 2);
  at("details").showModal();
}

function details(row) {
  const button = element("button", { type: "button", "aria-label": `Details of request ${row.id}` }, "JSON");
  button.addEventListener("click", () => attempt(() => showDetails(row.id)));
  return button;
}

const refused = (row) => row.decision === "deny";

async function showRequests() {
  const rows = (await api.latest()).data;
  const decision = (row) => element("span", { class: refused(row) ? "deny" : "" }, row.decision ?? "unknown");
  at("requests").replaceChildren(table(
    "Newest first. A refused request was not sent; its estimate is in its JSON.",
    [
      ["time", (row) => moment(row.time)],
      ["who", (row) => [row.subject?.team, row.subject?.user].filter(Boolean).join(" / ") || "unknown"],
      ["model", (row) => row.model ?? "unknown"],
      ["decision", decision],
      ["deployment", (row) => (refused(row) ? "not sent" : row.deployment ?? "unknown")],
      ["zone", (row) => (refused(row) ? "" : row.zone ?? "unknown")],
      ["images", (row) => count(row.images), "number"],
      ...QUANTITIES.map(([title, key, unit]) => [
        small(title),
        (row) => (refused(row) ? "none" : withRange(row.footprint, key, unit)),
        "number",
      ]),
      ["basis", (row) => (refused(row) ? "" : row.basis ?? "unknown")],
      ["details", details],
    ],
    rows,
    "No requests yet.",
  ));
}

async function showAll() {
  const caller = await api.me();
  const subject = caller.subject ?? caller;
  at("caller").textContent = `${named({ org: subject.org, team: subject.team, user: subject.user })} (${caller.role ?? subject.role})`;
  at("figures").hidden = false;
  await Promise.all([showTotals(), showUsage(), showBudgets(), showRequests()]);
  shownAt = moment(new Date().toISOString());
  say(`As of ${shownAt}; times are in ${zone}.`);
}

async function attempt(work) {
  try {
    await work();
  } catch (error) {
    if (error instanceof api.Refused && error.status === 401) forget();
    const stale = at("figures").hidden || shownAt === "" ? "" : ` The figures are as of ${shownAt}.`;
    say((error instanceof api.Refused ? error.message : "The gateway cannot be reached.") + stale, true);
    if (!(error instanceof api.Refused)) console.error(error);
  }
}

function forget() {
  api.forgetKey();
  signedIn(false);
  at("caller").textContent = "";
  for (const id of ["totals", "usage", "budgets", "requests", "details-json"]) at(id).replaceChildren();
  say("Enter an API key. It stays in this tab and goes only to this gateway.");
}

function signedIn(yes) {
  at("forget").hidden = !yes;
  at("figures").hidden = at("figures").hidden || !yes;
}

at("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  api.keepKey(at("key").value.trim());
  at("key").value = "";
  signedIn(true);
  attempt(showAll);
});
at("forget").addEventListener("click", forget);
at("refresh").addEventListener("click", () => attempt(showAll));
at("group").addEventListener("change", () => attempt(showUsage));

if (api.storedKey()) {
  signedIn(true);
  attempt(showAll);
}
