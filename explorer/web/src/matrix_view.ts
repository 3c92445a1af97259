// The Jacobian [J_s | J_a] of one row as a heat map; entries can be hovered, chosen by keyboard, and clicked.

import { cividis, css, theme } from "./colors";
import type { MatrixData } from "./matrix_data";
import type { Metadata } from "./store";
import { causeName } from "./units";

export type Mode = "magnitude" | "mask" | "difference";
type Entry = [number, number];

/** Powers of ten between which magnitudes have colours. */
const LOW = -6;
const HIGH = 2;
const GAP = 8;
const CELL_MAX = 24;
/** Below this there is no room for names, px. */
const CELL_NAMED = 11;
const FONT = "10px system-ui, sans-serif";

interface Layout {
  cell: number;
  left: number;
  top: number;
}

export class MatrixView {
  private data: MatrixData | null = null;
  private metadata: Metadata | null = null;
  private mode: Mode = "magnitude";
  private cursor: Entry = [0, 0];
  private selected: Entry | null = null;
  private readonly canvas = document.createElement("canvas");

  constructor(
    private readonly host: HTMLElement,
    private readonly onHover: (entry: Entry | null) => void,
    private readonly onSelect: (entry: Entry) => void,
  ) {
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", "Jacobian: rows are effects, columns are causes; arrow keys move, Enter chooses");
    host.append(this.canvas);
    this.canvas.addEventListener("pointermove", (event) => this.onHover(this.entryAt(event) ?? this.selected));
    this.canvas.addEventListener("pointerleave", () => this.onHover(this.selected));
    this.canvas.addEventListener("click", (event) => this.choose(this.entryAt(event)));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    for (const name of ["focus", "blur"]) this.canvas.addEventListener(name, () => this.draw());
    new ResizeObserver(() => this.draw()).observe(host);
  }

  show(metadata: Metadata, data: MatrixData, mode: Mode, selected: Entry | null): void {
    Object.assign(this, { metadata, data, mode, selected });
    this.cursor = [Math.min(this.cursor[0], data.dx - 1), Math.min(this.cursor[1], data.dx + data.da - 1)];
    this.draw();
  }

  private key(event: KeyboardEvent): void {
    const step: Record<string, Entry> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (!this.data) return;
    if (event.key === "Enter") this.choose(this.cursor);
    else if (event.key in step) {
      const [down, right] = step[event.key];
      const { dx, da } = this.data;
      this.cursor = [(this.cursor[0] + down + dx) % dx, (this.cursor[1] + right + dx + da) % (dx + da)];
      this.onHover(this.cursor);
      this.draw();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  private choose(entry: Entry | null): void {
    if (!entry) return;
    this.cursor = entry;
    this.onSelect(entry);
  }

  private entryAt(event: MouseEvent): Entry | null {
    if (!this.data) return null;
    const { dx, da } = this.data;
    const box = this.canvas.getBoundingClientRect();
    const { cell, left, top } = this.layout();
    const x = event.clientX - box.left - left;
    const cause = Math.floor(x < dx * cell ? x / cell : (x - GAP) / cell);
    const effect = Math.floor((event.clientY - box.top - top) / cell);
    const inside = effect >= 0 && effect < dx && cause >= 0 && cause < dx + da;
    return inside ? [effect, cause] : null;
  }

  private layout(): Layout {
    const { dx, da } = this.data!;
    const size = (left: number) => Math.max(3, Math.min(CELL_MAX, (this.host.clientWidth - left - GAP) / (dx + da)));
    const context = this.canvas.getContext("2d")!;
    context.font = FONT;
    const names = Array.from({ length: dx + da }, (_, cause) => causeName(this.metadata!, cause));
    const longest = Math.max(...names.map((name) => context.measureText(name).width)) + 6;
    const named = size(longest) >= CELL_NAMED;
    return named ? { cell: size(longest), left: longest, top: longest } : { cell: size(0), left: 0, top: 0 };
  }

  private draw(): void {
    if (!this.data || !this.host.clientWidth) return;
    const { dx, da } = this.data;
    const { cell, left, top } = this.layout();
    const ratio = window.devicePixelRatio;
    const [width, height] = [left + (dx + da) * cell + GAP, top + dx * cell];
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    const context = this.canvas.getContext("2d")!;
    context.scale(ratio, ratio);
    if (left) this.names(context, cell, left);
    context.translate(left, top);
    const space = cell > 6 ? 1 : 0;
    const x = (cause: number) => cause * cell + (cause >= dx ? GAP : 0);
    const dot = Math.max(1, cell / 8);
    for (let effect = 0; effect < dx; effect++)
      for (let cause = 0; cause < dx + da; cause++) {
        const color = this.color(effect * (dx + da) + cause);
        context.fillStyle = color ?? theme("--line");
        if (color) context.fillRect(x(cause), effect * cell, cell - space, cell - space);
        else if (cell > 6) context.fillRect(x(cause) + (cell - dot) / 2, (effect + 0.5) * cell - dot / 2, dot, dot);
      }
    const frame = (entry: Entry, color: string) => {
      context.strokeStyle = color;
      context.lineWidth = 2;
      context.strokeRect(x(entry[1]), entry[0] * cell, cell - space, cell - space);
    };
    if (document.activeElement === this.canvas) frame(this.cursor, theme("--accent"));
    if (this.selected) frame(this.selected, theme("--accent-2"));
  }

  /** The colour of an entry; null for one that is no edge. */
  private color(at: number): string | null {
    const { edge, union, values } = this.data!;
    if (this.mode === "difference" && !edge[at]) return union[at] ? theme("--cell-missing") : null;
    if (!edge[at]) return null;
    const value = Math.log10(Math.abs(values[at]));
    if (this.mode !== "magnitude" || !Number.isFinite(value)) return theme("--cell-ink");
    return css(cividis((value - LOW) / (HIGH - LOW)));
  }

  private names(context: CanvasRenderingContext2D, cell: number, left: number): void {
    const { dx, da } = this.data!;
    context.font = FONT;
    context.fillStyle = theme("--muted");
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (let effect = 0; effect < dx; effect++)
      context.fillText(this.metadata!.tangent_names[effect], left - 4, left + (effect + 0.5) * cell);
    context.textAlign = "left";
    for (let cause = 0; cause < dx + da; cause++) {
      context.save();
      context.translate(left + (cause + 0.5) * cell + (cause >= dx ? GAP : 0), left - 4);
      context.rotate(-Math.PI / 2);
      context.fillText(causeName(this.metadata!, cause), 0, 0);
      context.restore();
    }
  }
}

/** The scale of the magnitudes, to be drawn once below the matrix. */
export function drawScale(canvas: HTMLCanvasElement): void {
  const context = canvas.getContext("2d")!;
  for (let x = 0; x < canvas.width; x++) {
    context.fillStyle = css(cividis(x / (canvas.width - 1)));
    context.fillRect(x, 0, 1, canvas.height);
  }
}

export const SCALE_ENDS = [LOW, HIGH].map((power) => `1e${power}`);
