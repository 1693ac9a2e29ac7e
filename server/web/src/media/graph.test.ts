import { describe as suite, expect, test } from "vitest";
import { graphOf } from "./graph";
import { figureOf, missing, page } from "./plotly";

const graph = (names: string, pairs: string[]) => graphOf({ nodes: [...names].map((id) => ({ id })), edges: pairs.map((pair) => [...pair]) });

suite("graphs", () => {
  test("stand in layers, each node below those that lead to it", () => {
    const { nodes, layers } = graph("abcd", ["ab", "bd", "ac", "cd", "ad"]);
    expect(nodes.map((node) => node.layer)).toEqual([0, 1, 1, 2]);
    expect(layers).toEqual([[0], [1, 2], [3]]);
  });
  test("with circles end, and the edge that closes one is turned", () => {
    const { nodes, edges } = graph("abc", ["ab", "bc", "ca", "aa"]);
    expect(nodes.map((node) => node.layer)).toEqual([0, 1, 2]);
    expect(edges.map((edge) => edge.turned)).toEqual([false, false, true, true]);
  });
  test("cross few edges", () => {
    const { nodes } = graph("abcd", ["ad", "bc"]);
    expect(nodes[2]!.at).toBeGreaterThan(nodes[3]!.at);
  });
  test("of ids that are numbers, with edges to nothing, and no graph at all", () => {
    expect(graphOf({ nodes: [{ id: 0, name: "input", class_name: "Input" }], edges: [[0, 7]] })).toMatchObject({ nodes: [{ name: "input", told: "class_name: Input" }], edges: [] });
    expect(graphOf({ nodes: [], edges: [] }).layers).toEqual([]);
    expect(() => graphOf([1])).toThrow("no graph");
  });
});

suite("Plotly figures", () => {
  test("say which of their traces are not drawn; WebGL points are drawn without WebGL", () => {
    expect(missing(figureOf({ data: [{}, { type: "heatmap" }, { type: "scattergl" }] }))).toEqual([]);
    expect(missing(figureOf({ data: [{ type: "surface" }, { type: "surface" }, { type: "bar" }] }))).toEqual(["surface"]);
    expect(figureOf(null).data).toEqual([]);
  });
  test("are data in their page, whatever their texts hold", () => {
    const html = page(figureOf({ data: [], layout: { title: { text: "</script><script>alert(1)</script>" } } }), "code", "#000");
    expect(html).not.toContain("<script>alert");
    expect(html.match(/<script>/g)).toHaveLength(2);
  });
});
