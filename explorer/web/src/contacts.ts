// About where two geoms touch: the data have the force of a pair, not its points.

import { ConeGeometry, CylinderGeometry, Group, Mesh, MeshBasicMaterial, Vector3 } from "three";
import { rotate, type Pose, type SceneGeom, type Vector } from "./kinematics";

const UP = new Vector3(0, 1, 0);
// Seen through the robot, in which most of an arrow lies.
const MATERIAL = new MeshBasicMaterial({ color: 0xd55e00, depthTest: false, fog: false, transparent: true });
const SHAFT = new CylinderGeometry(1, 1, 1, 12).translate(0, 0.5, 0);
const HEAD = new ConeGeometry(1, 1, 16).translate(0, 0.5, 0);

/** An arrow from a place; all lengths in m. */
export function arrow(at: Vector, direction: Vector, length: number, width: number): Group {
  const head = Math.min(0.4 * length, 6 * width);
  const [shaft, tip] = [new Mesh(SHAFT, MATERIAL), new Mesh(HEAD, MATERIAL)];
  shaft.scale.set(width, length - head, width);
  tip.scale.set(2.5 * width, head, 2.5 * width);
  tip.position.y = length - head;
  shaft.renderOrder = tip.renderOrder = 1;
  const group = new Group().add(shaft, tip);
  group.position.set(...at);
  group.quaternion.setFromUnitVectors(UP, new Vector3(...direction));
  return group;
}

interface Placed {
  geom: SceneGeom;
  pose: Pose;
}

/** A place between two geoms, and the way in which the second pushes the first. */
export function contactPlace(first: Placed, second: Placed): { at: Vector; direction: Vector } {
  const [plane, other] = second.geom.type === "plane" ? [second, first] : [first, second];
  if (plane.geom.type === "plane") {
    const normal = rotate(plane.pose.orientation, [0, 0, 1]);
    return { at: support(other, [-normal[0], -normal[1], -normal[2]]), direction: normal };
  }
  const way = new Vector3(...first.pose.position).sub(new Vector3(...second.pose.position)).normalize();
  const direction: Vector = way.lengthSq() > 0 ? [way.x, way.y, way.z] : [0, 0, 1];
  return { at: support(second, direction), direction };
}

/** The point of a geom that lies furthest in a direction. */
function support({ geom, pose }: Placed, direction: Vector): Vector {
  const [w, x, y, z] = pose.orientation;
  const local = rotate([w, -x, -y, -z], direction);
  const [a, b, c] = geom.size;
  const radial = Math.hypot(local[0], local[1]) || 1;
  let point: Vector;
  if (geom.type === "box") point = [a * Math.sign(local[0]), b * Math.sign(local[1]), c * Math.sign(local[2])];
  else if (geom.type === "capsule") point = [a * local[0], a * local[1], a * local[2] + b * Math.sign(local[2])];
  else if (geom.type === "cylinder") point = [(a * local[0]) / radial, (a * local[1]) / radial, b * Math.sign(local[2])];
  else if (geom.type === "ellipsoid") {
    const norm = Math.hypot(a * local[0], b * local[1], c * local[2]) || 1;
    point = [(a * a * local[0]) / norm, (b * b * local[1]) / norm, (c * c * local[2]) / norm];
  } else point = [a * local[0], a * local[1], a * local[2]];
  const moved = rotate(pose.orientation, point);
  return [pose.position[0] + moved[0], pose.position[1] + moved[1], pose.position[2] + moved[2]];
}
