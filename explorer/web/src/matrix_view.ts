// The Jacobian [J_s | J_a] of one row as a heat map; entries can be hovered, chosen by keyboard, and clicked.

import { cividis, css, theme } from "./colors";

export type Mode = "magnitude" | "mask" | "difference";

export interface MatrixData {
  dx: number;
  da: number;
  /** [J_s | J_a], row-major, dx rows of dx + da; scaled as shown. NaN where it is not loaded. */
  values: Float32Array;
  /** Whether an entry counts as an edge here, and whether it does in some row of the store. */
  edge: Uint8Array;
  union: Uint8Array;
}

const LOW = -6;
const HIGH = 2;

export class MatrixView {
  private data: MatrixData | null = null;
  private mode: Mode = "magnitude";
  private cursor: [number, number] = [0, 0];
  private selected: [number, number] | null = null;
  readonly canvas = document.createElement("canvas");

  constructor(
    host: HTMLElement,
    private readonly onHover: (entry: [number, number] | null) => void,
    private readonly onSelect: (entry: [number, number]) => void,
  ) {
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "Jacobian: rows are effects, columns are causes; arrow keys move, Enter chooses");
    host.append(this.canvas);
    this.canvas.addEventListener("pointermove", (event) => this.onHover(this.entryAt(event)));
    this.canvas.addEventListener("pointerleave", () => this.onHover(null));
    this.canvas.addEventListener("click", (event) => this.choose(this.entryAt(event)));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(host);
  }

  show(data: MatrixData, mode: Mode, selected: [number, number] | null): void {
    this.data = data;
    this.mode = mode;
    this.selected = selected;
    this.draw();
  }

  private key(event: KeyboardEvent): void {
    const step: Record<string, [number, number]> = {
      ArrowUp: [-1, 0],
      ArrowDown: [1, 0],
      ArrowLeft: [0, -1],
      ArrowRight: [0, 1],
    };
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

  private choose(entry: [number, number] | null): void {
    if (entry) {
      this.cursor = entry;
      this.onSelect(entry);
    }
  }

  private entryAt(event: MouseEvent): [number, number] | null {
    if (!this.data) return null;
    const { dx, da } = this.data;
    const box = this.canvas.getBoundingClientRect();
    const { cell, gap } = this.layout();
    const x = event.clientX - box.left;
    const cause = x < dx * cell ? Math.floor(x / cell) : Math.floor((x - gap) / cell);
    const effect = Math.floor((event.clientY - box.top) / cell);
    const inside = effect >= 0 && effect < dx && cause >= 0 && cause < dx + da;
    return inside ? [effect, cause] : null;
  }

  private layout(): { cell: number; gap: number } {
    const { dx, da } = this.data!;
    const width = this.canvas.parentElement!.clientWidth;
    const gap = 8;
    return { cell: Math.max(3, Math.min(26, (width - gap) / (dx + da))), gap };
  }

  private draw(): void {
    if (!this.data || !this.canvas.parentElement?.clientWidth) return;
    const { dx, da, values, edge, union } = this.data;
    const { cell, gap } = this.layout();
    const ratio = window.devicePixelRatio;
    const [width, height] = [(dx + da) * cell + gap, dx * cell];
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    const context = this.canvas.getContext("2d")!;
    context.scale(ratio, ratio);
    const [empty, ink, missing] = [theme("--cell-empty"), theme("--cell-ink"), theme("--cell-missing")];
    const space = cell > 6 ? 1 : 0;
    const left = (cause: number) => cause * cell + (cause >= dx ? gap : 0);
    for (let effect = 0; effect < dx; effect++)
      for (let cause = 0; cause < dx + da; cause++) {
        const at = effect * (dx + da) + cause;
        let color = empty;
        if (this.mode === "difference") {
          if (edge[at]) color = ink;
          else if (union[at]) color = missing;
        } else if (edge[at]) {
          const value = Math.log10(Math.abs(values[at]));
          color = this.mode === "mask" || !Number.isFinite(value) ? ink : css(cividis((value - LOW) / (HIGH - LOW)));
        }
        context.fillStyle = color;
        context.fillRect(left(cause), effect * cell, cell - space, cell - space);
      }
    const frame = (entry: [number, number], color: string) => {
      context.strokeStyle = color;
      context.lineWidth = 2;
      context.strokeRect(left(entry[1]), entry[0] * cell, cell - space, cell - space);
    };
    if (document.activeElement === this.canvas) frame(this.cursor, theme("--accent"));
    if (this.selected) frame(this.selected, theme("--accent-2"));
  }
}

/** The scale of the magnitudes, to be drawn once beside the matrix. */
export function drawScale(canvas: HTMLCanvasElement): void {
  const context = canvas.getContext("2d")!;
  for (let x = 0; x < canvas.width; x++) {
    context.fillStyle = css(cividis(x / (canvas.width - 1)));
    context.fillRect(x, 0, 1, canvas.height);
  }
}

export const SCALE_LABELS = [LOW, (LOW + HIGH) / 2, HIGH].map((power) => `1e${power}`);
