/** A Plotly figure as the document of a frame, and what of it this page cannot draw. */

/** The kinds of traces in the bundle that is shipped: the flat ones. The others (3D, maps, diagrams) would take another 3 MB. */
export const DRAWN = new Set(["bar", "box", "contour", "heatmap", "histogram", "histogram2d", "histogram2dcontour", "image", "pie", "scatter", "scatterternary", "violin"]);

type Layout = Record<string, unknown>;
export interface Figure {
  data: Record<string, unknown>[];
  layout: Layout;
  frames: unknown[];
}

/** A figure as it was logged, whatever of it is missing. Points that want WebGL are drawn without: the bundle has no WebGL. */
export function figureOf(told: unknown): Figure {
  const { data, layout, frames } = (told ?? {}) as Partial<Figure>;
  const traces = (Array.isArray(data) ? data : []).map((trace) => (trace.type === "scattergl" ? { ...trace, type: "scatter" } : trace));
  return { data: traces, layout: layout ?? {}, frames: Array.isArray(frames) ? frames : [] };
}

/** The kinds of traces that are not drawn, each once. */
export function missing(figure: Figure): string[] {
  return [...new Set(figure.data.map((trace) => String(trace.type ?? "scatter")).filter((type) => !DRAWN.has(type)))];
}

/** A figure's template with lines that are seen, and not more, on light and on dark: Plotly's own are white. */
function templateOf(told: unknown): Layout {
  const lines = { gridcolor: "rgba(128,128,128,0.25)", zerolinecolor: "rgba(128,128,128,0.5)" };
  const template = (told ?? {}) as { layout?: { xaxis?: object; yaxis?: object } };
  const { xaxis, yaxis } = template.layout ?? {};
  return { ...template, layout: { ...template.layout, xaxis: { ...xaxis, ...lines }, yaxis: { ...yaxis, ...lines } } };
}

/** The document that draws it; it knows both colour schemes, as browsers put white behind a frame that has not that of the page. colour: of texts; code: of Plotly. */
export function page(figure: Figure, code: string, colour: string): string {
  const titled = figure.layout.title !== undefined;
  const { width, height, margin, ...own } = figure.layout as Layout & { margin?: object };
  void [width, height]; // as wide and high as its panel
  const template = templateOf(own.template);
  const layout = { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colour, size: 11 }, ...own, template, autosize: true, margin: { l: 44, r: 16, b: 36, ...margin, t: titled ? 36 : 12 } };
  const told = JSON.stringify({ ...figure, layout, config: { responsive: true, displaylogo: false } }).replaceAll("<", "\\u003c");
  return `<!doctype html><meta charset="utf-8"><style>:root{color-scheme:light dark}html,body,#f{margin:0;height:100%}</style><div id="f"></div><script>${code.replaceAll("</script", "<\\/script")}</script><script>Plotly.newPlot("f",${told})</script>`;
}
