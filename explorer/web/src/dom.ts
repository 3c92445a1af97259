// Small things about the page's elements and its words.

export const byId = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;

/** Fill a list to choose from; entries are words, or a value and the words for it. */
export function options(id: string, values: (string | [string, string])[], chosen: string): void {
  byId<HTMLSelectElement>(id).replaceChildren(
    ...values.map((value) => {
      const [key, text] = typeof value === "string" ? [value, value] : value;
      return new Option(text, key, false, key === chosen);
    }),
  );
}

export function definitions(facts: Record<string, string>): HTMLElement[] {
  return Object.entries(facts).map(([name, value]) => {
    const [row, term, detail] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
    term.textContent = name;
    detail.textContent = value;
    row.append(term, detail);
    return row;
  });
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

export function byteSize(bytes: number): string {
  return bytes < 2 ** 20 ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
