// Asks the gateway with the key of this tab. Knows URLs and the key; refuses to know the page.

const KEPT = "ecogate-key";

export const storedKey = () => sessionStorage.getItem(KEPT);
export const keepKey = (key) => sessionStorage.setItem(KEPT, key);
export const forgetKey = () => sessionStorage.removeItem(KEPT);

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// The JSON at a path; throws Refused with the gateway's own words.
export async function read(path) {
  const answer = await fetch(path, {
    headers: { authorization: `Bearer ${storedKey()}`, accept: "application/json" },
    credentials: "omit",
    cache: "no-store",
  });
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, body?.error?.message ?? `HTTP ${answer.status}`);
  return body;
}

export const me = () => read("/eco/v1/me");
export const totals = () => read("/eco/v1/usage?window=total");
export const usageBy = (group) => read(`/eco/v1/usage?window=total&group_by=${encodeURIComponent(group)}`);
export const budgets = () => read("/eco/v1/budgets");
export const latest = () => read("/eco/v1/requests?limit=25");
export const requestPath = (id) => `/eco/v1/requests/${encodeURIComponent(id)}`;
