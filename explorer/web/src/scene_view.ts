// The robot in three dimensions, posed by forward kinematics, with an arrow for each contact force.

import {
  AmbientLight,
  ArrowHelper,
  BoxGeometry,
  type BufferGeometry,
  CapsuleGeometry,
  CylinderGeometry,
  DirectionalLight,
  GridHelper,
  Mesh,
  MeshStandardMaterial,
  PerspectiveCamera,
  PlaneGeometry,
  Scene as ThreeScene,
  SphereGeometry,
  Vector3,
  WebGLRenderer,
} from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
import { bodyPoses, geomPose, rotate, type Pose, type Scene, type SceneGeom, type Vector } from "./kinematics";

const ARROW_COLOR = 0xd55e00;
const PLANE_HALF_SIZE = 20;

export interface ContactForce {
  geom1: string;
  geom2: string;
  newtons: number;
}

export class SceneView {
  private readonly renderer: WebGLRenderer;
  private readonly camera = new PerspectiveCamera(35, 1, 0.01, 500);
  private readonly world = new ThreeScene();
  private readonly controls: OrbitControls;
  private readonly meshes = new Map<string, Mesh>();
  private arrows: ArrowHelper[] = [];
  private scene: Scene | null = null;
  private center: Vector = [0, 0, 0];

  constructor(private readonly host: HTMLElement) {
    this.renderer = new WebGLRenderer({ antialias: true, alpha: true });
    this.renderer.setPixelRatio(Math.min(2, window.devicePixelRatio));
    host.append(this.renderer.domElement);
    this.renderer.domElement.setAttribute("aria-label", "The robot in three dimensions; drag to turn, scroll to zoom");
    this.renderer.domElement.setAttribute("role", "img");
    this.camera.up.set(0, 0, 1);
    this.controls = new OrbitControls(this.camera, this.renderer.domElement);
    this.controls.addEventListener("change", () => this.draw());
    const sun = new DirectionalLight(0xffffff, 2);
    sun.position.set(2, -3, 6);
    this.world.add(new AmbientLight(0xffffff, 1.4), sun);
    new ResizeObserver(() => this.resize()).observe(host);
    this.resize();
  }

  /** Build the robot; poses come with `show`. */
  load(scene: Scene): void {
    this.scene = scene;
    for (const mesh of this.meshes.values()) this.world.remove(mesh);
    this.meshes.clear();
    for (const [number, body] of scene.bodies.entries())
      for (const [index, geom] of body.geoms.entries()) {
        const [red, green, blue, alpha] = geom.rgba;
        if (alpha === 0) continue;
        const material = new MeshStandardMaterial({ roughness: 0.7, transparent: alpha < 1, opacity: alpha });
        material.color.setRGB(red, green, blue);
        const mesh = new Mesh(geometryOf(geom), material);
        if (geom.type === "plane") material.color.set(0x8a9099);
        this.meshes.set(`${number}/${index}`, mesh);
        this.world.add(mesh);
      }
    const grid = new GridHelper(2 * PLANE_HALF_SIZE, 2 * PLANE_HALF_SIZE, 0x888888, 0x999999);
    grid.rotation.x = Math.PI / 2;
    grid.position.z = 0.002;
    if (scene.bodies[0].geoms.some((geom) => geom.type === "plane")) {
      this.meshes.set("grid", grid as unknown as Mesh);
      this.world.add(grid);
    }
    const far = Math.max(0.5, scene.extent) * 2.2;
    this.center = [0, 0, 0];
    this.camera.position.set(0.35 * far, -far, 0.45 * far);
    this.controls.target.set(0, 0, 0.25 * scene.extent);
    this.controls.update();
  }

  /** Pose the robot and draw the forces. */
  show(qpos: ArrayLike<number>, forces: ContactForce[], largest: number): void {
    if (!this.scene) return;
    const poses = bodyPoses(this.scene, qpos);
    const places = new Map<string, { geom: SceneGeom; pose: Pose }>();
    for (const [number, body] of this.scene.bodies.entries())
      for (const [index, geom] of body.geoms.entries()) {
        const pose = geomPose(poses[number], geom);
        places.set(geom.name, { geom, pose });
        const mesh = this.meshes.get(`${number}/${index}`);
        if (!mesh) continue;
        const [w, x, y, z] = pose.orientation;
        mesh.position.set(...pose.position);
        mesh.quaternion.set(x, y, z, w);
      }
    this.follow(poses);
    for (const arrow of this.arrows) this.world.remove(arrow);
    this.arrows = forces.flatMap((force) => {
      const [first, second] = [places.get(force.geom1), places.get(force.geom2)];
      if (!first || !second || !(force.newtons > 0)) return [];
      const { at, direction } = contactPlace(first, second);
      const length = this.scene!.extent * (0.15 + 0.6 * (force.newtons / Math.max(largest, 1e-9)));
      return [new ArrowHelper(new Vector3(...direction), new Vector3(...at), length, ARROW_COLOR, 0.25 * length, 0.15 * length)];
    });
    for (const arrow of this.arrows) this.world.add(arrow);
    this.draw();
  }

  clear(): void {
    for (const mesh of this.meshes.values()) this.world.remove(mesh);
    for (const arrow of this.arrows) this.world.remove(arrow);
    this.meshes.clear();
    this.arrows = [];
    this.scene = null;
    this.draw();
  }

  private draw(): void {
    this.renderer.render(this.world, this.camera);
  }

  /** Keep a robot that moves away in view. */
  private follow(poses: Pose[]): void {
    const moving = poses.slice(1);
    if (!moving.length) return;
    const center = [0, 1, 2].map((axis) => moving.reduce((sum, pose) => sum + pose.position[axis], 0) / moving.length);
    const shift = center.map((value, axis) => value - this.center[axis]);
    this.center = center as Vector;
    this.camera.position.add(new Vector3(shift[0], shift[1], 0));
    this.controls.target.add(new Vector3(shift[0], shift[1], 0));
    this.controls.update();
  }

  private resize(): void {
    const { clientWidth, clientHeight } = this.host;
    if (!clientWidth || !clientHeight) return;
    this.renderer.setSize(clientWidth, clientHeight);
    this.camera.aspect = clientWidth / clientHeight;
    this.camera.updateProjectionMatrix();
    this.draw();
  }
}

function geometryOf(geom: SceneGeom): BufferGeometry {
  const [a, b, c] = geom.size;
  switch (geom.type) {
    case "plane":
      return new PlaneGeometry(2 * (a || PLANE_HALF_SIZE), 2 * (b || PLANE_HALF_SIZE));
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

/** About where two geoms touch, and which way the second pushes the first away. */
function contactPlace(
  first: { geom: SceneGeom; pose: Pose },
  second: { geom: SceneGeom; pose: Pose },
): { at: Vector; direction: Vector } {
  const [plane, other] = second.geom.type === "plane" ? [second, first] : [first, second];
  if (plane.geom.type === "plane") {
    const normal = rotate(plane.pose.orientation, [0, 0, 1]);
    const down: Vector = [-normal[0], -normal[1], -normal[2]];
    return { at: support(other, down), direction: normal };
  }
  const way = new Vector3(...first.pose.position).sub(new Vector3(...second.pose.position)).normalize();
  const direction: Vector = way.lengthSq() > 0 ? [way.x, way.y, way.z] : [0, 0, 1];
  return { at: support(second, direction), direction };
}

/** The point of a geom that lies furthest in a direction. */
function support({ geom, pose }: { geom: SceneGeom; pose: Pose }, direction: Vector): Vector {
  const [w, x, y, z] = pose.orientation;
  const local = rotate([w, -x, -y, -z], direction);
  const [a, b, c] = geom.size;
  const radial = Math.hypot(local[0], local[1]) || 1;
  let point: Vector;
  if (geom.type === "box") point = [a * Math.sign(local[0]), b * Math.sign(local[1]), c * Math.sign(local[2])];
  else if (geom.type === "capsule") point = [a * local[0], a * local[1], a * local[2] + b * Math.sign(local[2])];
  else if (geom.type === "cylinder") point = [(a * local[0]) / radial, (a * local[1]) / radial, b * Math.sign(local[2])];
  else if (geom.type === "ellipsoid") point = [a * local[0], b * local[1], c * local[2]];
  else point = [a * local[0], a * local[1], a * local[2]];
  const moved = rotate(pose.orientation, point);
  return [pose.position[0] + moved[0], pose.position[1] + moved[1], pose.position[2] + moved[2]];
}
