/** A graph in layers: every node below the ones that lead to it, in an order that crosses few edges. */

export interface GraphNode {
  id: string;
  name: string;
  told: string;
  layer: number;
  /** place within its layer, from 0 */
  at: number;
}

export interface Graph {
  nodes: GraphNode[];
  /** indices of nodes; turned: it leads upwards, as it closes a circle */
  edges: { from: number; to: number; turned: boolean }[];
  layers: number[][];
}

interface Told {
  nodes?: Record<string, unknown>[];
  edges?: unknown[][];
}

const SWEEPS = 4;

/** A graph file as nodes with places. Raises Error for a file that holds none. */
export function graphOf(told: unknown): Graph {
  const { nodes: given, edges: pairs } = (told ?? {}) as Told;
  if (!Array.isArray(given) || !Array.isArray(pairs)) throw new Error("The file holds no graph");
  const nodes = given.map((node) => {
    const { id, name, class_name, ...rest } = node;
    const more = Object.entries({ class_name, ...rest }).filter(([, value]) => value !== undefined && value !== null);
    return { id: String(id), name: String(name ?? id), told: more.map(([key, value]) => `${key}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join("\n"), layer: 0, at: 0 };
  });
  const index = new Map(nodes.map((node, i) => [node.id, i]));
  const edges = pairs.flatMap(([a, b]) => {
    const [from, to] = [index.get(String(a)), index.get(String(b))];
    return from === undefined || to === undefined ? [] : [{ from, to, turned: false }];
  });
  const graph: Graph = { nodes, edges, layers: [] };
  rank(graph);
  order(graph);
  return graph;
}

/** Layers by the longest way from a node that nothing leads to; edges that close a circle do not count. */
function rank({ nodes, edges }: Graph): void {
  const next = nodes.map((): Graph["edges"] => []);
  for (const edge of edges) next[edge.from]!.push(edge);
  const state = new Uint8Array(nodes.length);
  const sorted: number[] = [];
  for (let root = 0; root < nodes.length; root++) {
    if (state[root]) continue;
    const stack: [number, number][] = [[root, 0]];
    state[root] = 1;
    while (stack.length) {
      const top = stack[stack.length - 1]!;
      const edge = next[top[0]]![top[1]++];
      if (!edge) {
        state[top[0]] = 2;
        sorted.push(top[0]);
        stack.pop();
      } else if (state[edge.to] === 1) edge.turned = true;
      else if (state[edge.to] === 0) {
        state[edge.to] = 1;
        stack.push([edge.to, 0]);
      }
    }
  }
  for (const i of sorted.reverse()) {
    for (const edge of next[i]!) if (!edge.turned) nodes[edge.to]!.layer = Math.max(nodes[edge.to]!.layer, nodes[i]!.layer + 1);
  }
}

/** Each node near the middle of its neighbours, a few times down and up. */
function order(graph: Graph): void {
  const { nodes, edges } = graph;
  const layers = (graph.layers = Array.from({ length: Math.max(0, ...nodes.map((node) => node.layer + 1)) }, (): number[] => []));
  nodes.forEach((node, i) => (node.at = layers[node.layer]!.push(i) - 1));
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const down = sweep % 2 === 0;
    for (const layer of down ? layers : [...layers].reverse()) {
      const middle = new Map(layer.map((i) => {
        const near = edges.flatMap(({ from, to }) => (down && to === i ? [nodes[from]!.at] : !down && from === i ? [nodes[to]!.at] : []));
        return [i, near.length ? near.reduce((a, b) => a + b, 0) / near.length : nodes[i]!.at] as const;
      }));
      layer.sort((a, b) => middle.get(a)! - middle.get(b)! || nodes[a]!.at - nodes[b]!.at);
      layer.forEach((i, at) => (nodes[i]!.at = at));
    }
  }
}
