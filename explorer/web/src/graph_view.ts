// The causal graph of one row between joints and actions: an edge where an effect at one joint depends on a cause.

import { cividis, css, theme } from "./colors";
import type { MatrixData } from "./matrix_view";
import type { Metadata } from "./store";

const SVG = "http://www.w3.org/2000/svg";
const SIZE = 420;
const RADIUS = 150;
const DOFS: Record<string, number> = { free: 6, ball: 3, slide: 1, hinge: 1 };

interface Node {
  name: string;
  /** Rows and columns of [J_s | J_a] that belong to it; an action has columns only. */
  effects: number[];
  causes: number[];
}

export function nodesOf(metadata: Metadata): Node[] {
  const { nv, dx, da } = { nv: metadata.sizes.nv, dx: metadata.sizes.dx, da: metadata.sizes.da };
  const nodes = metadata.joints.map((joint) => {
    const dofs = Array.from({ length: DOFS[joint.type] ?? 1 }, (_, offset) => joint.dof_address + offset);
    const entries = [...dofs, ...dofs.map((dof) => dof + nv)];
    return { name: joint.name, effects: entries, causes: entries };
  });
  for (let at = 2 * nv; at < dx; at++)
    nodes.push({ name: metadata.tangent_names[at], effects: [at], causes: [at] });
  for (let action = 0; action < da; action++)
    nodes.push({ name: metadata.action_names[action], effects: [], causes: [dx + action] });
  return nodes;
}

export class GraphView {
  private readonly svg = document.createElementNS(SVG, "svg");

  constructor(host: HTMLElement) {
    this.svg.setAttribute("viewBox", `0 0 ${SIZE} ${SIZE}`);
    this.svg.setAttribute("role", "img");
    this.svg.setAttribute("aria-label", "Graph of joints and actions: an arrow leads from a cause to an effect");
    host.append(this.svg);
  }

  show(metadata: Metadata, data: MatrixData): void {
    this.svg.replaceChildren();
    const nodes = nodesOf(metadata);
    const width = data.dx + data.da;
    const places = nodes.map((_, index) => {
      const angle = (2 * Math.PI * index) / nodes.length - Math.PI / 2;
      return [SIZE / 2 + RADIUS * Math.cos(angle), SIZE / 2 + RADIUS * Math.sin(angle), angle] as const;
    });
    this.svg.append(marker());
    for (const [from, cause] of nodes.entries())
      for (const [to, effect] of nodes.entries()) {
        if (from === to) continue;
        let largest = 0;
        for (const row of effect.effects)
          for (const column of cause.causes) {
            const at = row * width + column;
            if (data.edge[at]) largest = Math.max(largest, Math.abs(data.values[at]) || 1e-12);
          }
        if (largest > 0) this.svg.append(edge(places[from], places[to], largest));
      }
    for (const [index, node] of nodes.entries()) {
      const [x, y, angle] = places[index];
      const action = node.effects.length === 0;
      const shape = element(action ? "rect" : "circle", { fill: theme("--panel"), stroke: theme("--ink"), "stroke-width": 1.5 });
      if (action) set(shape, { x: x - 6, y: y - 6, width: 12, height: 12 });
      else set(shape, { cx: x, cy: y, r: 7 });
      const right = Math.cos(angle) >= 0;
      const label = element("text", {
        x: x + (right ? 11 : -11),
        y: y + 4 + 8 * Math.sin(angle),
        "text-anchor": right ? "start" : "end",
        fill: theme("--ink"),
        "font-size": 11,
      });
      label.textContent = node.name;
      this.svg.append(shape, label);
    }
  }
}

function edge(from: readonly number[], to: readonly number[], size: number): SVGElement {
  const [x1, y1, x2, y2] = [from[0], from[1], to[0], to[1]];
  // Bent towards the middle, so that both directions can be seen.
  const bend = 0.18;
  const [mx, my] = [(x1 + x2) / 2 + bend * (y2 - y1), (y1 + y2) / 2 - bend * (x2 - x1)];
  const scale = (Math.log10(size) + 6) / 8;
  return element("path", {
    d: `M${x1},${y1} Q${mx},${my} ${x2},${y2}`,
    fill: "none",
    stroke: css(cividis(scale)),
    "stroke-width": 0.5 + 2 * Math.min(1, Math.max(0, scale)),
    "stroke-opacity": 0.7,
    "marker-end": "url(#arrow)",
  });
}

function marker(): SVGElement {
  const found = element("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 14, refY: 4, markerWidth: 5, markerHeight: 5, orient: "auto" });
  found.append(element("path", { d: "M0,0 L8,4 L0,8 z", fill: theme("--muted") }));
  return found;
}

export function element(name: string, attributes: Record<string, string | number>): SVGElement {
  const found = document.createElementNS(SVG, name);
  set(found, attributes);
  return found;
}

function set(target: SVGElement, attributes: Record<string, string | number>): void {
  for (const [name, value] of Object.entries(attributes)) target.setAttribute(name, String(value));
}
