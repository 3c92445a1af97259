// The causal graph of one row between joints and actions: an edge where an effect at one joint depends on a cause.

import { cividis, css, theme } from "./colors";
import type { MatrixData } from "./matrix_data";
import type { Mode } from "./matrix_view";
import type { Metadata } from "./store";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 560;
const HEIGHT = 420;
const RADIUS = 160;
/** From so many nodes on, their names stand along the radius, and need room above and below. */
const RADIAL_FROM = 18;
const RADIUS_RADIAL = 125;
const DOFS: Record<string, number> = { free: 6, ball: 3, slide: 1, hinge: 1 };

interface Node {
  name: string;
  /** Rows and columns of [J_s | J_a] that belong to it; an action has columns only. */
  effects: number[];
  causes: number[];
}

export function nodesOf(metadata: Metadata): Node[] {
  const { nv, dx, da } = metadata.sizes;
  const nodes = metadata.joints.map((joint) => {
    const dofs = Array.from({ length: DOFS[joint.type] ?? 1 }, (_, offset) => joint.dof_address + offset);
    const entries = [...dofs, ...dofs.map((dof) => dof + nv)];
    return { name: joint.name, effects: entries, causes: entries };
  });
  for (let at = 2 * nv; at < dx; at++) nodes.push({ name: metadata.tangent_names[at], effects: [at], causes: [at] });
  for (let action = 0; action < da; action++)
    nodes.push({ name: metadata.action_names[action], effects: [], causes: [dx + action] });
  return nodes;
}

export class GraphView {
  private readonly svg = document.createElementNS(SVG, "svg");
  /** The only node whose edges are shown; null for all. */
  private only: number | null = null;
  private last: [Metadata, MatrixData, Mode] | null = null;

  constructor(host: HTMLElement) {
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute("role", "group");
    this.svg.setAttribute("aria-label", "Graph of joints and actions: an arrow leads from a cause to an effect");
    host.append(this.svg);
  }

  show(metadata: Metadata, data: MatrixData, mode: Mode): void {
    if (this.last?.[0] !== metadata) this.only = null;
    this.last = [metadata, data, mode];
    const nodes = nodesOf(metadata);
    const focused = [...this.svg.querySelectorAll("[tabindex]")].indexOf(document.activeElement as Element);
    this.svg.replaceChildren(marker());
    const radius = nodes.length > RADIAL_FROM ? RADIUS_RADIAL : RADIUS;
    const places = nodes.map((_, index) => {
      const angle = (2 * Math.PI * index) / nodes.length - Math.PI / 2;
      return [WIDTH / 2 + radius * Math.cos(angle), HEIGHT / 2 + radius * Math.sin(angle), angle] as const;
    });
    for (const [from, cause] of nodes.entries())
      for (const [to, effect] of nodes.entries()) {
        if (from === to || (this.only !== null && this.only !== from && this.only !== to)) continue;
        const { size, lost } = strongest(data, effect, cause);
        if (mode === "difference" && lost && !size) this.svg.append(edge(places[from], places[to], 1, theme("--cell-missing"), true));
        if (size) this.svg.append(edge(places[from], places[to], size, mode === "magnitude" ? null : theme("--muted"), false));
      }
    for (const [index, node] of nodes.entries()) this.svg.append(this.drawn(node, index, places[index], nodes.length > RADIAL_FROM));
    if (focused >= 0) (this.svg.querySelectorAll("[tabindex]")[focused] as SVGElement | undefined)?.focus();
  }

  private drawn(node: Node, index: number, [x, y, angle]: readonly [number, number, number], radial: boolean): SVGElement {
    const action = node.effects.length === 0;
    const chosen = this.only === index;
    const group = element("g", { tabindex: 0, role: "button", "aria-pressed": String(chosen), class: "node" });
    group.setAttribute("aria-label", `${action ? "action" : "joint"} ${node.name}: show only its edges`);
    const look = { fill: theme(chosen ? "--accent" : "--panel"), stroke: theme("--ink"), "stroke-width": 1.5 };
    group.append(
      action ? element("rect", { x: x - 7, y: y - 7, width: 14, height: 14, ...look }) : element("circle", { cx: x, cy: y, r: 8, ...look }),
    );
    const right = Math.cos(angle) >= -1e-9;
    const words = { "text-anchor": right ? "start" : "end", fill: theme("--ink") };
    // Many names would lie on each other; along the radius they do not.
    const label = radial
      ? element("text", {
          x: right ? 13 : -13,
          y: 4,
          transform: `translate(${x} ${y}) rotate(${(angle * 180) / Math.PI + (right ? 0 : 180)})`,
          "font-size": 11,
          ...words,
        })
      : element("text", { x: x + (right ? 13 : -13), y: y + 4 + 10 * Math.sin(angle), "font-size": 13, ...words });
    label.textContent = node.name;
    group.append(label);
    const choose = () => {
      this.only = chosen ? null : index;
      if (this.last) this.show(...this.last);
    };
    group.addEventListener("click", choose);
    group.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      choose();
    });
    return group;
  }
}

/** The largest |J| between two nodes among edges, and whether the union graph has an edge that is missing here. */
function strongest(data: MatrixData, effect: Node, cause: Node): { size: number; lost: boolean } {
  const width = data.dx + data.da;
  let [size, lost] = [0, false];
  for (const row of effect.effects)
    for (const column of cause.causes) {
      const at = row * width + column;
      // An edge of the float64 mask may be zero in float32.
      if (data.edge[at]) size = Math.max(size, Math.abs(data.values[at]) || 1e-12);
      else if (data.union[at]) lost = true;
    }
  return { size, lost };
}

function edge(from: readonly number[], to: readonly number[], size: number, color: string | null, dashed: boolean): SVGElement {
  const [x1, y1, x2, y2] = [from[0], from[1], to[0], to[1]];
  // Bent, so that both directions can be seen.
  const bend = 0.18;
  const [mx, my] = [(x1 + x2) / 2 + bend * (y2 - y1), (y1 + y2) / 2 - bend * (x2 - x1)];
  const scale = (Math.log10(size) + 6) / 8;
  return element("path", {
    d: `M${x1},${y1} Q${mx},${my} ${x2},${y2}`,
    fill: "none",
    stroke: color ?? css(cividis(scale)),
    "stroke-width": 0.6 + 2.2 * Math.min(1, Math.max(0, scale)),
    "stroke-opacity": 0.75,
    "marker-end": "url(#arrow)",
    ...(dashed ? { "stroke-dasharray": "4 4" } : {}),
  });
}

function marker(): SVGElement {
  const found = element("marker", {
    id: "arrow",
    viewBox: "0 0 8 8",
    refX: 17,
    refY: 4,
    markerWidth: 7,
    markerHeight: 7,
    markerUnits: "userSpaceOnUse",
    orient: "auto",
  });
  found.append(element("path", { d: "M0,1 L8,4 L0,7 z", fill: theme("--muted") }));
  return found;
}

function element(name: string, attributes: Record<string, string | number>): SVGElement {
  const found = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, String(value));
  return found;
}
