// The robot in three dimensions, posed by forward kinematics, with an arrow for each contact force.

import {
  AmbientLight,
  BufferGeometry,
  Color,
  DirectionalLight,
  Fog,
  type Group,
  Line,
  LineBasicMaterial,
  Mesh,
  MeshStandardMaterial,
  PerspectiveCamera,
  Scene as ThreeScene,
  Vector3,
  WebGLRenderer,
} from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
import { theme } from "./colors";
import { arrow, contactPlace } from "./contacts";
import { Floor, geometryOf } from "./geoms";
import { bodyPoses, geomPose, placeOn, type Pose, type Scene, type SceneGeom, type Vector } from "./kinematics";

/** Of the robot's size. */
const ARROW_WIDTH = 0.012;

export interface ContactForce {
  geom1: string;
  geom2: string;
  newtons: number;
}

interface Placed {
  geom: SceneGeom;
  pose: Pose;
  moves: boolean;
}

export class SceneView {
  private readonly renderer: WebGLRenderer;
  private readonly camera = new PerspectiveCamera(35, 1, 0.01, 500);
  private readonly world = new ThreeScene();
  private readonly controls: OrbitControls;
  private readonly meshes = new Map<SceneGeom, Mesh>();
  private readonly floor = new Floor();
  private strings: Line[] = [];
  private arrows: Group[] = [];
  private scene: Scene | null = null;
  /** What the camera looks at; null until the robot has its first pose. */
  private center: Vector3 | null = null;
  private size = 1;

  constructor(private readonly host: HTMLElement) {
    this.renderer = new WebGLRenderer({ antialias: true });
    this.renderer.setPixelRatio(Math.min(2, window.devicePixelRatio));
    const canvas = this.renderer.domElement;
    host.append(canvas);
    canvas.setAttribute("aria-label", "The robot in three dimensions; drag to turn, scroll to zoom");
    canvas.setAttribute("role", "img");
    this.camera.up.set(0, 0, 1);
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.addEventListener("change", () => this.draw());
    const sun = new DirectionalLight(0xffffff, 2);
    sun.position.set(2, -3, 6);
    this.world.add(new AmbientLight(0xffffff, 1.6), sun, this.floor.group);
    this.paint();
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (this.paint(), this.draw()));
    new ResizeObserver(() => this.resize()).observe(host);
  }

  /** Build the robot; poses come with `show`. */
  load(scene: Scene | null): void {
    this.clear();
    this.scene = scene;
    if (!scene) return;
    for (const geom of scene.bodies.flatMap((body) => body.geoms)) {
      const [red, green, blue, alpha] = geom.rgba;
      if (alpha === 0 || geom.type === "plane") continue;
      const material = new MeshStandardMaterial({ roughness: 0.7, transparent: alpha < 1, opacity: alpha });
      material.color.setRGB(red, green, blue, "srgb");
      const mesh = new Mesh(geometryOf(geom), material);
      this.meshes.set(geom, mesh);
      this.world.add(mesh);
    }
    for (const string of scene.strings) {
      const line = new Line(new BufferGeometry(), new LineBasicMaterial({ color: new Color(...string.rgba.slice(0, 3)) }));
      this.strings.push(line);
      this.world.add(line);
    }
  }

  /** Pose the robot and draw the forces; `largest` has the longest arrow, N. */
  show(qpos: ArrayLike<number>, forces: ContactForce[], largest: number): void {
    if (!this.scene) return;
    const poses = bodyPoses(this.scene, qpos);
    const placed = this.place(poses);
    for (const { geom, pose } of placed) {
      const mesh = this.meshes.get(geom);
      const [w, x, y, z] = pose.orientation;
      mesh?.position.set(...pose.position);
      mesh?.quaternion.set(x, y, z, w);
    }
    for (const [index, string] of this.scene.strings.entries())
      this.strings[index].geometry.setFromPoints(string.places.map(({ body, pos }) => new Vector3(...placeOn(poses[body], pos))));
    this.look(placed);
    const plane = placed.find(({ geom }) => geom.type === "plane");
    this.floor.show(plane?.pose ?? null, this.center!, this.size);
    this.drawForces(new Map(placed.map((one) => [one.geom.name, one])), forces, largest);
    this.draw();
  }

  private clear(): void {
    for (const mesh of this.meshes.values()) this.world.remove(mesh);
    this.world.remove(...this.strings, ...this.arrows);
    this.meshes.clear();
    this.strings = [];
    this.arrows = [];
    this.center = null;
    this.floor.show(null, new Vector3(), 1);
    this.draw();
  }

  private place(poses: Pose[]): Placed[] {
    const moves: boolean[] = [];
    return this.scene!.bodies.flatMap((body, number) => {
      moves.push(number > 0 && (body.joints.length > 0 || moves[body.parent]));
      return body.geoms.map((geom) => ({ geom, pose: geomPose(poses[number], geom), moves: moves[number] }));
    });
  }

  private drawForces(places: Map<string, Placed>, forces: ContactForce[], largest: number): void {
    this.world.remove(...this.arrows);
    this.arrows = forces.flatMap((force) => {
      const [first, second] = [places.get(force.geom1), places.get(force.geom2)];
      if (!first || !second || !(force.newtons > 0)) return [];
      const { at, direction } = contactPlace(first, second);
      const length = this.size * (0.15 + 0.7 * (force.newtons / Math.max(largest, 1e-9)));
      return [arrow(at, direction, length, ARROW_WIDTH * this.size)];
    });
    if (this.arrows.length) this.world.add(...this.arrows);
  }

  /** Frame the robot when it is new, and keep one that moves away in view. */
  private look(placed: Placed[]): void {
    const moving = placed.filter((one) => one.moves).map(({ pose }) => pose.position);
    const points = moving.length ? moving : placed.map(({ pose }) => pose.position);
    const axes = [0, 1, 2].map((axis) => points.map((point) => point[axis]));
    const middle = new Vector3(...(axes.map((values) => (Math.min(...values) + Math.max(...values)) / 2) as Vector));
    if (this.center) {
      // Up and down stay as they are, so that a jump is seen as one.
      const shift = new Vector3(middle.x - this.center.x, middle.y - this.center.y, 0);
      this.camera.position.add(shift);
      this.controls.target.add(shift);
      this.center.add(shift);
    } else {
      const spread = axes.map((values) => Math.max(...values) - Math.min(...values));
      this.size = Math.max(0.25 * this.scene!.extent, Math.hypot(...spread)) || 1;
      // A robot that lies in a plane is seen from above.
      const way = movesInPlane(this.scene!) ? new Vector3(0.1, -0.7, 1.1) : new Vector3(0.45, -1.3, 0.45);
      this.center = middle.clone();
      this.controls.target.copy(middle);
      this.camera.position.copy(middle).addScaledVector(way.normalize(), 2.6 * this.size);
      this.camera.near = 0.02 * this.size;
      this.camera.far = 60 * this.size;
      this.camera.updateProjectionMatrix();
      (this.world.fog as Fog).near = 5 * this.size;
      (this.world.fog as Fog).far = 16 * this.size;
    }
    this.controls.update();
  }

  private paint(): void {
    const background = new Color(theme("--panel"));
    this.world.background = background;
    this.world.fog = new Fog(background, (this.world.fog as Fog | null)?.near ?? 5, (this.world.fog as Fog | null)?.far ?? 16);
    this.floor.paint(new Color(theme("--floor")), new Color(theme("--line")));
  }

  private draw(): void {
    this.renderer.render(this.world, this.camera);
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

/** Whether all joints turn about z or slide across it, as far as their own axes say. */
function movesInPlane(scene: Scene): boolean {
  const joints = scene.bodies.flatMap((body) => body.joints);
  const upright = ({ type, axis }: (typeof joints)[number]) =>
    type === "hinge" ? Math.abs(axis[2]) > 0.99 : type === "slide" && Math.abs(axis[2]) < 0.01;
  return joints.length > 0 && joints.every(upright);
}
