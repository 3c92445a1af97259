// All episodes of a store, to choose one; what needs an episode's rows is filled in once it was opened.

import { percent } from "./dom";
import type { Overview } from "./episode";
import type { Episode } from "./store";

const COLUMNS = ["episode", "split", "return", "steps", "in contact", "at a limit", "pattern changes"];
/** More rows would slow the page down; the list above the panels has them all. */
const ROWS_MAX = 2000;

export class EpisodeTable {
  private rows = new Map<number, HTMLTableRowElement>();

  constructor(
    private readonly host: HTMLElement,
    private readonly onChoose: (episode: number) => void,
  ) {}

  load(episodes: Episode[]): void {
    this.rows.clear();
    const [table, head, body] = [document.createElement("table"), document.createElement("thead"), document.createElement("tbody")];
    head.append(cells(COLUMNS, "th"));
    for (const episode of episodes.slice(0, ROWS_MAX)) {
      const returned = Number.isFinite(episode.return) ? episode.return.toFixed(2) : String(episode.return);
      const row = cells([String(episode.index), episode.split, returned, String(episode.length), "", "", ""], "td");
      row.tabIndex = 0;
      row.addEventListener("click", () => this.onChoose(episode.index));
      row.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        event.stopPropagation();
        this.onChoose(episode.index);
      });
      this.rows.set(episode.index, row);
      body.append(row);
    }
    table.append(head, body);
    this.host.replaceChildren(table);
  }

  show(episode: number, overview: Overview): void {
    for (const [index, row] of this.rows) row.setAttribute("aria-selected", String(index === episode));
    const row = this.rows.get(episode);
    if (!row) return;
    const found = [percent(overview.contactShare), percent(overview.limitShare), String(overview.patternChanges)];
    for (const [index, text] of found.entries()) row.cells[4 + index].textContent = text;
  }
}

function cells(texts: string[], tag: "th" | "td"): HTMLTableRowElement {
  const row = document.createElement("tr");
  for (const text of texts) {
    const cell = document.createElement(tag);
    cell.textContent = text;
    if (tag === "th") (cell as HTMLTableCellElement).scope = "col";
    row.append(cell);
  }
  return row;
}
