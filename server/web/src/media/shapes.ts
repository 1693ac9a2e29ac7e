/** Files of shapes as objects of three.js: meshes and clouds of points. What reads a format is loaded when a file has it. */

import {
  ArrowHelper, BufferAttribute, BufferGeometry, CanvasTexture, Color, Float32BufferAttribute, Group, LineBasicMaterial, LineSegments,
  Mesh, MeshStandardMaterial, type Object3D, Points, PointsMaterial, Sprite, SpriteMaterial, Vector3,
} from "three";
import { colour, type Theme } from "../colours";
import { rgbOf } from "./overlays";
import { lenientJson } from "./source";

export interface Shape {
  object: Object3D;
  /** Texts beside its parts: as large on the screen from near and from far, so they are no part of its size. */
  labels: Sprite[];
}

type Triple = readonly number[];
interface SceneFile {
  points?: number[][];
  boxes?: { corners?: Triple[]; label?: string; color?: Triple }[];
  vectors?: { start?: Triple; end?: Triple; color?: Triple }[];
}

const PLAIN = 0x8fa0ff;
/** More points than this are drawn smaller, or they would hide each other. */
const MANY = 20_000;

/** The object that a file holds. Raises what is wrong with it, in words. */
export async function shapeOf(path: string, url: string, theme: Theme): Promise<Shape> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(response.status === 404 ? "The file is not there (yet)" : `The server answers ${response.status}`);
  if (path.endsWith(".pts.json")) return cloud(lenientJson(await response.text()), theme);
  return { object: await mesh(path, response), labels: [] };
}

async function mesh(path: string, response: Response): Promise<Object3D> {
  if (path.endsWith(".stl")) {
    const { STLLoader } = await import("three/examples/jsm/loaders/STLLoader.js");
    return surface(new STLLoader().parse(await response.arrayBuffer()));
  }
  if (path.endsWith(".ply")) {
    const { PLYLoader } = await import("three/examples/jsm/loaders/PLYLoader.js");
    const geometry = new PLYLoader().parse(await response.arrayBuffer());
    // A file without faces is what a scanner measured: points.
    return geometry.index ? surface(geometry) : dots(geometry);
  }
  if (path.endsWith(".obj")) {
    const { OBJLoader } = await import("three/examples/jsm/loaders/OBJLoader.js");
    const object = new OBJLoader().parse(await response.text());
    object.traverse((child) => {
      if (!(child instanceof Mesh)) return;
      child.geometry.computeVertexNormals();
      child.material = paint(child.geometry as BufferGeometry);
    });
    return object;
  }
  if (/\.(gltf|glb)$/.test(path)) {
    const { GLTFLoader } = await import("three/examples/jsm/loaders/GLTFLoader.js");
    const { scene } = await new GLTFLoader().parseAsync(await response.arrayBuffer(), "");
    // Metal shows what is around it, and nothing is around it here: it would be black. It is what a material is that says nothing.
    scene.traverse((child) => {
      if (child instanceof Mesh) for (const material of [child.material].flat()) if (material instanceof MeshStandardMaterial && !material.metalnessMap) material.metalness = Math.min(0.1, material.metalness);
    });
    return scene;
  }
  throw new Error(`${path.split("/").at(-1)} is of a kind that is not drawn; it can be downloaded under Files`);
}

function surface(geometry: BufferGeometry): Mesh {
  geometry.computeVertexNormals();
  return new Mesh(geometry, paint(geometry));
}

/** In the colours of its corners when it has some. */
function paint(geometry: BufferGeometry): MeshStandardMaterial {
  const coloured = geometry.hasAttribute("color");
  return new MeshStandardMaterial({ color: coloured ? 0xffffff : PLAIN, vertexColors: coloured, roughness: 0.7, metalness: 0.05, side: 2 });
}

function dots(geometry: BufferGeometry): Points {
  const coloured = geometry.hasAttribute("color");
  const size = geometry.getAttribute("position").count > MANY ? 1.5 : 2.5;
  return new Points(geometry, new PointsMaterial({ size, sizeAttenuation: false, vertexColors: coloured, color: coloured ? 0xffffff : PLAIN }));
}

/** Rows of x, y, z and a category, or a colour; or the form that has points, boxes and vectors. */
function cloud(told: unknown, theme: Theme): Shape {
  const scene = (Array.isArray(told) ? { points: told } : told) as SceneFile;
  const points = scene.points ?? [];
  const group = new Group();
  const labels: Sprite[] = [];
  const place = new Float32Array(points.length * 3);
  const colours = new Float32Array(points.length * 3);
  const classes = new Map<number, Color>();
  points.forEach((point, i) => {
    place.set([point[0]!, point[1]!, point[2]!], i * 3);
    let one: Color | undefined;
    if (point.length >= 6) one = srgb(point.slice(3, 6));
    else {
      const kind = point[3] ?? 0;
      one = classes.get(kind);
      if (!one) classes.set(kind, (one = srgb(rgbOf(colour(kind, theme)))));
    }
    colours.set([one.r, one.g, one.b], i * 3);
  });
  const geometry = new BufferGeometry();
  geometry.setAttribute("position", new BufferAttribute(place, 3));
  geometry.setAttribute("color", new BufferAttribute(colours, 3));
  if (points.length) group.add(dots(geometry));
  for (const { corners = [], label, color = [140, 160, 255] } of scene.boxes ?? []) {
    if (corners.length !== 8) continue;
    group.add(edges(corners, srgb(color)));
    if (label) labels.push(caption(label, `rgb(${color.join(" ")})`, highest(corners)));
  }
  for (const { start, end, color = [140, 160, 255] } of scene.vectors ?? []) {
    if (!start || !end) continue;
    const from = new Vector3(...start);
    const along = new Vector3(...end).sub(from);
    const length = along.length();
    if (length > 0) group.add(new ArrowHelper(along.normalize(), from, length, srgb(color), length * 0.2, length * 0.1));
  }
  return { object: group, labels };
}

/** The edges of a box. Which corners are joined is not said: those nearest to each other, three for each. */
function edges(corners: readonly Triple[], own: Color): LineSegments {
  const pairs = new Set<string>();
  corners.forEach((corner, i) => {
    const near = corners.map((other, j) => [Math.hypot(...corner.map((v, k) => v - other[k]!)), j] as const).sort((a, b) => a[0] - b[0]);
    for (const [, j] of near.slice(1, 4)) pairs.add([Math.min(i, j), Math.max(i, j)].join());
  });
  const lines = new BufferGeometry();
  lines.setAttribute("position", new Float32BufferAttribute([...pairs].flatMap((pair) => pair.split(",").flatMap((i) => [...corners[Number(i)]!])), 3));
  return new LineSegments(lines, new LineBasicMaterial({ color: own }));
}

function highest(corners: readonly Triple[]): Vector3 {
  const top = corners.reduce((best, corner) => (corner[1]! > best[1]! ? corner : best));
  return new Vector3(top[0], top[1], top[2]);
}

/** A text on a dark ground, which is read on light and on dark. */
function caption(text: string, own: string, at: Vector3): Sprite {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d")!;
  const font = "500 28px system-ui, sans-serif";
  context.font = font;
  canvas.width = Math.ceil(context.measureText(text).width) + 24;
  canvas.height = 44;
  context.fillStyle = "#101114";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = own;
  context.fillRect(0, 0, 6, canvas.height);
  context.font = font;
  context.fillStyle = "#fff";
  context.fillText(text, 14, 31);
  const sprite = new Sprite(new SpriteMaterial({ map: new CanvasTexture(canvas), sizeAttenuation: false, depthTest: false }));
  const tall = 0.055;
  sprite.scale.set((tall * canvas.width) / canvas.height, tall, 1);
  sprite.center.set(0, 0);
  sprite.position.copy(at);
  return sprite;
}

/** Red, green and blue, 0 to 255. */
function srgb(rgb: Triple): Color {
  return new Color().setRGB(rgb[0]! / 255, rgb[1]! / 255, rgb[2]! / 255, "srgb");
}
