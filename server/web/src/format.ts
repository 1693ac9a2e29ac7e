/** Numbers, times and sizes as people read them. */

const digits = new Map<number, Intl.NumberFormat>();

/** Up to `significant` digits; very large and very small values in powers of ten. */
export function number(value: number, significant = 5): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e15) return grouped(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) {
    return value.toExponential(Math.max(0, Math.min(significant, 4) - 1)).replace(/\.?0+e/, "e").replace("e+", "e");
  }
  let format = digits.get(significant);
  if (!format) {
    format = new Intl.NumberFormat("en", { maximumSignificantDigits: significant, useGrouping: false });
    digits.set(significant, format);
  }
  return format.format(value);
}

const integers = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** A count with separators of thousands. */
export function grouped(value: number): string {
  return Math.abs(value) < 10000 ? String(value) : integers.format(value).replaceAll(",", " ");
}

/** 1 200 000 as 1.2M: for axes. */
export function compact(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e15 || (size !== 0 && size < 1e-4)) return number(value, 3);
  for (const [limit, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]] as const) {
    if (size >= limit) {
      const scale = unit === "k" ? 1e3 : limit;
      return `${number(value / scale, 4)}${unit}`;
    }
  }
  return number(value, 6);
}

/** A duration in seconds: 0.4 s, 12 s, 3 m 20 s, 5 h 12 m, 3 d 4 h. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "";
  const sign = seconds < 0 ? "−" : "";
  let s = Math.abs(seconds);
  if (s > 0 && s < 0.1) return `${sign}${number(s * 1000, 2)} ms`;
  if (s < 10) return `${sign}${number(s, 2)} s`;
  s = Math.round(s);
  if (s < 60) return `${sign}${s} s`;
  if (s < 3600) return `${sign}${Math.floor(s / 60)} m ${s % 60} s`;
  if (s < 86400) return `${sign}${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} m`;
  return `${sign}${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** How long ago, in one unit: now, 40 s, 5 m, 3 h, 2 d, then the date. */
export function ago(time: number | null | undefined, now: number): string {
  if (time === null || time === undefined) return "";
  const s = Math.max(0, now - time);
  if (s < 5) return "now";
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m`;
  if (s < 86400) return `${Math.floor(s / 3600)} h`;
  if (s < 86400 * 14) return `${Math.floor(s / 86400)} d`;
  return date(time).slice(0, 10);
}

/** How long ago, in words: now, 5 m ago, then the date. */
export function since(time: number | null | undefined, now: number): string {
  const told = ago(time, now);
  return /[smhd]$/.test(told) ? `${told} ago` : told;
}

const pad = (value: number) => String(value).padStart(2, "0");

/** 2026-11-25 08:15:02, in the viewer's time zone. */
export function date(seconds: number): string {
  const d = new Date(seconds * 1000);
  if (Number.isNaN(d.getTime())) return "";
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
}

/** 12 B, 3.4 kB, 5.6 MB. */
export function bytes(size: number): string {
  let value = size;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (value < 1000) return `${number(value, 3)} ${unit}`;
    value /= 1000;
  }
  return `${number(value, 3)} TB`;
}

/** Any config or summary value in one line. */
export function text(value: unknown, significant = 5): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return number(value, significant);
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return String(value);
  if (typeof value === "object" && "_type" in value) return `(${String(value._type)})`;
  return JSON.stringify(value);
}
