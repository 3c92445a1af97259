// Forward kinematics of a MuJoCo model from (qpos): poses of bodies and geoms in the world, as mj_kinematics gives them.

export type Vector = [number, number, number];
/** w first. */
export type Quaternion = [number, number, number, number];

export interface Pose {
  position: Vector;
  orientation: Quaternion;
}

export interface SceneJoint {
  name: string;
  type: "free" | "ball" | "slide" | "hinge";
  axis: Vector;
  pos: Vector;
  qpos_address: number;
  /** qpos of a slide or hinge in which the body has its own pose. */
  reference: number;
}

export interface SceneGeom {
  name: string;
  type: "plane" | "sphere" | "capsule" | "ellipsoid" | "cylinder" | "box";
  size: Vector;
  pos: Vector;
  quat: Quaternion;
  rgba: [number, number, number, number];
}

export interface SceneBody {
  name: string;
  parent: number;
  pos: Vector;
  quat: Quaternion;
  joints: SceneJoint[];
  geoms: SceneGeom[];
}

export interface Scene {
  format: "dynamic-sparsity-scene";
  version: 1;
  task: string;
  bodies: SceneBody[];
  /** Tendons that go from place to place on bodies. */
  strings: { name: string; places: { body: number; pos: Vector }[]; rgba: [number, number, number, number] }[];
  extent: number;
}

export function multiply(a: Quaternion, b: Quaternion): Quaternion {
  return [
    a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
    a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
    a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
    a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
  ];
}

export function rotate(q: Quaternion, v: Vector): Vector {
  const [w, x, y, z] = q;
  const tx = 2 * (y * v[2] - z * v[1]);
  const ty = 2 * (z * v[0] - x * v[2]);
  const tz = 2 * (x * v[1] - y * v[0]);
  return [v[0] + w * tx + y * tz - z * ty, v[1] + w * ty + z * tx - x * tz, v[2] + w * tz + x * ty - y * tx];
}

function normalized(q: Quaternion): Quaternion {
  const norm = Math.hypot(...q);
  return norm > 0 ? (q.map((value) => value / norm) as Quaternion) : [1, 0, 0, 0];
}

function add(a: Vector, b: Vector): Vector {
  return [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
}

function turnAbout(axis: Vector, angle: number): Quaternion {
  const sine = Math.sin(angle / 2);
  return [Math.cos(angle / 2), axis[0] * sine, axis[1] * sine, axis[2] * sine];
}

/** The pose of every body, in the order of the scene; `qpos` holds nq numbers. */
export function bodyPoses(scene: Scene, qpos: ArrayLike<number>): Pose[] {
  const poses: Pose[] = [];
  for (const [number, body] of scene.bodies.entries()) {
    if (number === 0) {
      poses.push({ position: [0, 0, 0], orientation: [1, 0, 0, 0] });
      continue;
    }
    const parent = poses[body.parent];
    let position = add(parent.position, rotate(parent.orientation, body.pos));
    let orientation = multiply(parent.orientation, body.quat);
    for (const joint of body.joints) {
      const at = joint.qpos_address;
      if (joint.type === "free") {
        position = [qpos[at], qpos[at + 1], qpos[at + 2]];
        orientation = normalized([qpos[at + 3], qpos[at + 4], qpos[at + 5], qpos[at + 6]]);
        continue;
      }
      const axis = rotate(orientation, joint.axis);
      if (joint.type === "slide") {
        const way = qpos[at] - joint.reference;
        position = add(position, [axis[0] * way, axis[1] * way, axis[2] * way]);
        continue;
      }
      // The anchor stays where it is while the body turns about it.
      const anchor = add(position, rotate(orientation, joint.pos));
      orientation =
        joint.type === "ball"
          ? multiply(orientation, normalized([qpos[at], qpos[at + 1], qpos[at + 2], qpos[at + 3]]))
          : multiply(turnAbout(axis, qpos[at] - joint.reference), orientation);
      const arm = rotate(orientation, joint.pos);
      position = [anchor[0] - arm[0], anchor[1] - arm[1], anchor[2] - arm[2]];
    }
    poses.push({ position, orientation: normalized(orientation) });
  }
  return poses;
}

export function geomPose(body: Pose, geom: SceneGeom): Pose {
  return {
    position: add(body.position, rotate(body.orientation, geom.pos)),
    orientation: multiply(body.orientation, geom.quat),
  };
}

export function placeOn(body: Pose, pos: Vector): Vector {
  return add(body.position, rotate(body.orientation, pos));
}
