import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { clock, NOTHING, when } from "../format";
import { language } from "../i18n";
import { isDark } from "../theme";
import "../styles/chart.css";

export interface Line {
  label: string;
  /** A colour of the style sheet: `--series-1`. */
  color: string;
  fill?: boolean;
}

interface ChartProps {
  label: string;
  lines: Line[];
  /** Seconds since 1970, and a column for each line; null where nothing is known. */
  data: uPlot.AlignedData;
  format: (value: number) => string;
  /** How many seconds are shown, up to the newest. */
  spanSecs: number;
  height?: number;
  /** Bytes: the axis has powers of two. */
  binary?: boolean;
  empty: string;
}

/** Distances between marks of the axis: whole numbers. */
const DECIMAL = Array.from({ length: 13 }, (_, power) => [1, 2, 5].map((times) => times * 10 ** power)).flat();
const BINARY = Array.from({ length: 42 }, (_, power) => 2 ** power);

/** Lines over time. The plot is made once and given new numbers; only a change of theme or language makes it anew. */
export function Chart({ label, lines, data, format, spanSecs, height = 190, binary = false, empty }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [at, setAt] = useState<number | null>(null);
  const now = useRef({ data, spanSecs, format });
  now.current = { data, spanSecs, format };
  const look = `${isDark.value} ${language.value} ${lines.map((line) => line.label + line.color).join()}`;

  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const style = getComputedStyle(document.documentElement);
    const color = (name: string) => style.getPropertyValue(name).trim();
    const axis: uPlot.Axis = {
      stroke: color("--soft"),
      grid: { stroke: color("--line"), width: 1 },
      ticks: { show: false },
      font: "12px system-ui, sans-serif",
    };
    const made = new uPlot(
      {
        width: Math.max(element.clientWidth, 80),
        height,
        padding: [8, 30, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
        scales: {
          x: {
            time: true,
            range: () => {
              const xs = now.current.data[0];
              const last = xs[xs.length - 1] ?? Date.now() / 1000;
              return [last - now.current.spanSecs, last];
            },
          },
          y: { range: (_, __, max) => [0, Math.max(max * 1.1, 1)] },
        },
        axes: [
          { ...axis, size: 28, space: 84, values: (_, ticks) => ticks.map((tick) => axisTime(tick, now.current.spanSecs)) },
          { ...axis, size: 62, incrs: binary ? BINARY : DECIMAL, values: (_, ticks) => ticks.map((tick) => now.current.format(tick)) },
        ],
        series: [
          {},
          ...lines.map(
            (line): uPlot.Series => ({
              label: line.label,
              stroke: color(line.color),
              fill: line.fill ? `${color(line.color)}1f` : undefined,
              width: 1.75,
              points: { show: false },
            }),
          ),
        ],
        hooks: { setCursor: [(self) => setAt(self.cursor.idx ?? null)] },
      },
      now.current.data,
      element,
    );
    plot.current = made;
    const watch = new ResizeObserver(() => made.setSize({ width: Math.max(element.clientWidth, 80), height }));
    watch.observe(element);
    return () => {
      watch.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [look, height]);

  useEffect(() => plot.current?.setData(data), [data]);

  const length = data[0].length;
  const index = at !== null && at < length ? at : length - 1;
  const values = lines.map((line, number) => ({ line, value: data[number + 1]?.[index] }));
  const told = values.map(({ line, value }) => `${line.label} ${known(value) ? format(value) : NOTHING}`).join(", ");
  return (
    <figure class="chart">
      <figcaption>
        {values.map(({ line, value }) => (
          <span key={line.label} class="legend">
            <i style={{ background: `var(${line.color})` }} />
            {line.label}
            <b>{known(value) ? format(value) : NOTHING}</b>
          </span>
        ))}
        {at !== null && length > 0 && <time class="soft">{when((data[0][index] ?? 0) * 1000)}</time>}
      </figcaption>
      <div class="plot" ref={place} role="img" aria-label={`${label}: ${told}`} />
      {length === 0 && <p class="chart-empty">{empty}</p>}
    </figure>
  );
}

function known(value: number | null | undefined): value is number {
  return value !== null && value !== undefined && !Number.isNaN(value);
}

function axisTime(secs: number, spanSecs: number): string {
  const date = new Date(secs * 1000);
  const two = (value: number) => String(value).padStart(2, "0");
  if (spanSecs <= 900) return clock(date.getTime());
  const time = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (spanSecs <= 86_400) return time;
  const day = `${date.getMonth() + 1}/${date.getDate()}`;
  return date.getHours() === 0 && date.getMinutes() === 0 ? day : `${day} ${time}`;
}
