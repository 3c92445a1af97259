// MuJoCo's geoms as three.js draws them, and a floor that goes on for ever.

import {
  BoxGeometry,
  BufferGeometry,
  CapsuleGeometry,
  type Color,
  CylinderGeometry,
  Group,
  LineBasicMaterial,
  LineSegments,
  Mesh,
  MeshBasicMaterial,
  PlaneGeometry,
  SphereGeometry,
  Vector3,
} from "three";
import type { Pose, SceneGeom } from "./kinematics";

const LINES = 80;

export function geometryOf(geom: SceneGeom): BufferGeometry {
  const [a, b, c] = geom.size;
  switch (geom.type) {
    case "plane":
      return new PlaneGeometry(2 * a, 2 * b);
    case "sphere":
      return new SphereGeometry(a, 32, 16);
    case "ellipsoid":
      return new SphereGeometry(1, 32, 16).scale(a, b, c);
    case "box":
      return new BoxGeometry(2 * a, 2 * b, 2 * c);
    // three.js has its axis along y, MuJoCo along z.
    case "capsule":
      return new CapsuleGeometry(a, 2 * b, 8, 24).rotateX(Math.PI / 2);
    case "cylinder":
      return new CylinderGeometry(a, a, 2 * b, 32).rotateX(Math.PI / 2);
  }
}

/** Lines in pieces: some renderers lose a line that ends behind the camera. */
function gridGeometry(): BufferGeometry {
  const half = LINES / 2;
  const points: Vector3[] = [];
  for (let line = -half; line <= half; line++)
    for (let piece = -half; piece < half; piece += 2)
      points.push(
        ...[new Vector3(line, piece), new Vector3(line, piece + 2)],
        ...[new Vector3(piece, line), new Vector3(piece + 2, line)],
      );
  return new BufferGeometry().setFromPoints(points);
}

/** A plane with lines, of which the part around the robot is drawn: contacts know no edge of it either. */
export class Floor {
  readonly group = new Group();
  private readonly sheet = new Mesh(
    new PlaneGeometry(LINES, LINES),
    // Some robots pass through it, and are seen below.
    new MeshBasicMaterial({ transparent: true, opacity: 0.75, depthWrite: false }),
  );
  private readonly grid = new LineSegments(gridGeometry(), new LineBasicMaterial());

  constructor() {
    this.group.add(this.sheet, this.grid);
    this.group.visible = false;
  }

  paint(sheet: Color, lines: Color): void {
    this.sheet.material.color = sheet;
    this.grid.material.color = lines;
  }

  /** Lay it below a place, with lines that stay where they are; null where there is none. */
  show(pose: Pose | null, center: Vector3, size: number): void {
    this.group.visible = pose !== null;
    if (!pose) return;
    const step = 10 ** Math.round(Math.log10(size / 2));
    const [w, x, y, z] = pose.orientation;
    this.group.quaternion.set(x, y, z, w);
    this.group.scale.setScalar(step);
    const level = w * w > 0.999;
    const along = (value: number) => Math.round(value / step) * step;
    if (level) this.group.position.set(along(center.x), along(center.y), pose.position[2]);
    else this.group.position.set(...pose.position);
  }
}
