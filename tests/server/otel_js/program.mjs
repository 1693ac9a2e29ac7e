// Trains for five steps and tells a server with the stock OpenTelemetry SDK; where it is, OTEL_EXPORTER_OTLP_* say.
//   node program.mjs proto | http
import { diag, DiagConsoleLogger, DiagLogLevel } from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";
import { AggregationType, MeterProvider, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";

const protocol = process.argv[2];
diag.setLogger(new DiagConsoleLogger(), DiagLogLevel.WARN);
const { OTLPMetricExporter } = await import(`@opentelemetry/exporter-metrics-otlp-${protocol}`);
const { OTLPLogExporter } = await import(`@opentelemetry/exporter-logs-otlp-${protocol}`);

const resource = resourceFromAttributes({ "service.name": "js", "service.instance.id": protocol, "milepost.run.name": `with ${protocol}` });
const reader = new PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter(), exportIntervalMillis: 3_600_000 });
const views = [{ instrumentName: "fine", aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }];
const meters = new MeterProvider({ resource, readers: [reader], views });
const logs = new LoggerProvider({ resource, processors: [new BatchLogRecordProcessor({ exporter: new OTLPLogExporter() })] });

const meter = meters.getMeter("training");
const loss = meter.createGauge("loss");
const step = meter.createGauge("milepost.step");
const seen = meter.createCounter("images");
const coarse = meter.createHistogram("coarse");
const fine = meter.createHistogram("fine");
const logger = logs.getLogger("training");

for (let n = 0; n < 5; n++) {
  step.record(n * 10);
  loss.record(1 / (n + 1));
  seen.add(32, { split: "train" });
  for (const histogram of [coarse, fine]) histogram.record(n + 0.5);
  logger.emit({ severityText: "INFO", body: `epoch ${n} done` });
  await meters.forceFlush();
}
await logs.forceFlush();
await meters.shutdown();
await logs.shutdown();
