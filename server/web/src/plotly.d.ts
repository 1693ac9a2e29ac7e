declare module "plotly.js-basic-dist-min/plotly-basic.min.js?url" {
  const address: string;
  export default address;
}
