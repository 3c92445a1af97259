// What happens over an episode: sparsity, bands of contacts and limits, chosen entries; zoom by wheel or by keys.

import { seriesColor, theme } from "./colors";

export interface Series {
  name: string;
  unit: string;
  values: Float32Array;
}

export interface Bands {
  name: string;
  color: number;
  active: (row: number) => boolean;
}

const LEFT = 56;
const RIGHT = 12;
const PLOT = 84;
const BAND = 16;
const AXIS = 26;

export class Timeline {
  private readonly canvas = document.createElement("canvas");
  private length = 1;
  private dt = 1;
  private series: Series[] = [];
  private bands: Bands[] = [];
  private row = 0;
  private view: [number, number] = [0, 1];
  private dragging = false;

  constructor(
    private readonly host: HTMLElement,
    private readonly onRow: (row: number) => void,
  ) {
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "Timeline of the episode; click to move, wheel to zoom, double click to see all");
    host.append(this.canvas);
    this.canvas.addEventListener("pointerdown", (event) => {
      this.dragging = true;
      this.canvas.setPointerCapture(event.pointerId);
      this.move(event);
    });
    this.canvas.addEventListener("pointermove", (event) => this.dragging && this.move(event));
    this.canvas.addEventListener("pointerup", () => (this.dragging = false));
    this.canvas.addEventListener("dblclick", () => this.zoomTo([0, this.length]));
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(host);
  }

  load(length: number, dt: number, bands: Bands[]): void {
    this.length = Math.max(1, length);
    this.dt = dt;
    this.bands = bands;
    this.view = [0, this.length];
  }

  show(row: number, series: Series[]): void {
    this.row = row;
    this.series = series;
    const width = this.view[1] - this.view[0];
    if (row < this.view[0] || row >= this.view[1]) this.view = [row, Math.min(this.length, row + width)];
    this.draw();
  }

  zoom(factor: number): void {
    const width = Math.max(10, Math.min(this.length, (this.view[1] - this.view[0]) * factor));
    const start = Math.max(0, Math.min(this.length - width, this.row - width / 2));
    this.zoomTo([start, start + width]);
  }

  private zoomTo(view: [number, number]): void {
    this.view = view;
    this.draw();
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    const at = this.rowAt(event);
    const factor = event.deltaY > 0 ? 1.25 : 0.8;
    const width = Math.max(10, Math.min(this.length, (this.view[1] - this.view[0]) * factor));
    const share = (at - this.view[0]) / (this.view[1] - this.view[0]);
    const start = Math.max(0, Math.min(this.length - width, at - share * width));
    this.zoomTo([start, start + width]);
  }

  private rowAt(event: MouseEvent): number {
    const box = this.canvas.getBoundingClientRect();
    const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
    return this.view[0] + Math.min(1, Math.max(0, share)) * (this.view[1] - this.view[0]);
  }

  private move(event: MouseEvent): void {
    this.onRow(Math.min(this.length - 1, Math.floor(this.rowAt(event))));
  }

  private draw(): void {
    const width = this.host.clientWidth;
    if (!width) return;
    const height = this.series.length * PLOT + this.bands.length * BAND + AXIS + 8;
    const ratio = window.devicePixelRatio;
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    const context = this.canvas.getContext("2d")!;
    context.scale(ratio, ratio);
    context.font = "11px system-ui, sans-serif";
    const x = (row: number) => LEFT + ((row - this.view[0]) / (this.view[1] - this.view[0])) * (width - LEFT - RIGHT);
    for (const [index, series] of this.series.entries()) this.plot(context, series, index, x, width);
    let top = this.series.length * PLOT + 4;
    for (const band of this.bands) {
      this.band(context, band, top, x);
      top += BAND;
    }
    this.axis(context, top, x, width);
    context.strokeStyle = theme("--accent");
    context.lineWidth = 1.5;
    context.beginPath();
    context.moveTo(x(this.row + 0.5), 0);
    context.lineTo(x(this.row + 0.5), top);
    context.stroke();
  }

  private plot(context: CanvasRenderingContext2D, series: Series, index: number, x: (row: number) => number, width: number): void {
    const top = index * PLOT + 16;
    const height = PLOT - 24;
    const [first, last] = [Math.floor(this.view[0]), Math.min(this.length, Math.ceil(this.view[1]))];
    let [low, high] = [Infinity, -Infinity];
    for (let row = first; row < last; row++) {
      const value = series.values[row];
      if (Number.isFinite(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
    }
    if (!(high > low)) [low, high] = [low - 0.5, low + 0.5];
    context.strokeStyle = theme("--line");
    context.strokeRect(LEFT, top, width - LEFT - RIGHT, height);
    context.fillStyle = theme("--ink");
    context.textAlign = "left";
    context.fillText(series.unit ? `${series.name} (${series.unit})` : series.name, LEFT, top - 4);
    context.fillStyle = theme("--muted");
    context.textAlign = "right";
    context.fillText(short(high), LEFT - 4, top + 9);
    context.fillText(short(low), LEFT - 4, top + height);
    context.save();
    context.beginPath();
    context.rect(LEFT, top, width - LEFT - RIGHT, height);
    context.clip();
    context.strokeStyle = seriesColor(index);
    context.lineWidth = 1.25;
    context.beginPath();
    for (let row = first; row < last; row++) {
      const y = top + height - ((series.values[row] - low) / (high - low)) * height;
      if (row === first) context.moveTo(x(row + 0.5), y);
      else context.lineTo(x(row + 0.5), y);
    }
    context.stroke();
    context.restore();
  }

  private band(context: CanvasRenderingContext2D, band: Bands, top: number, x: (row: number) => number): void {
    context.fillStyle = theme("--muted");
    context.textAlign = "right";
    context.fillText(band.name, LEFT - 4, top + 11);
    context.fillStyle = seriesColor(band.color);
    const [first, last] = [Math.floor(this.view[0]), Math.min(this.length, Math.ceil(this.view[1]))];
    let start = -1;
    for (let row = first; row <= last; row++) {
      const on = row < last && band.active(row);
      if (on && start < 0) start = row;
      if (!on && start >= 0) {
        const from = Math.max(LEFT, x(start));
        context.fillRect(from, top + 2, Math.max(1, x(row) - from), BAND - 4);
        start = -1;
      }
    }
  }

  private axis(context: CanvasRenderingContext2D, top: number, x: (row: number) => number, width: number): void {
    context.fillStyle = theme("--muted");
    context.textAlign = "center";
    const seconds = (this.view[1] - this.view[0]) * this.dt;
    const rough = seconds / Math.max(2, (width - LEFT) / 90);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= rough)!;
    for (let tick = Math.ceil((this.view[0] * this.dt) / step); tick * step <= this.view[1] * this.dt; tick++) {
      const at = x((tick * step) / this.dt);
      context.fillRect(at, top, 1, 4);
      context.fillText(String(Number((tick * step).toPrecision(6))), at, top + 15);
    }
    context.textAlign = "right";
    context.fillText("time (s)", width - RIGHT, top + 25);
  }
}

function short(value: number): string {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}
