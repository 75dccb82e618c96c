import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { theme } from '../theme';

export interface Line {
  label: string;
  /** A colour's name in the style sheet: `--ember`, `--steel`, … */
  colour: string;
  width: number;
  faint?: boolean;
  /** Dots instead of a line, for values that come now and then: how wide they are, in pixels. */
  dots?: number;
}

interface Props {
  lines: Line[];
  /** Steps, then one column for each line. */
  data: uPlot.AlignedData;
  height: number;
  label: string;
  testid?: string;
  small?: boolean;
  format: (value: number) => string;
}

/** A line chart over steps. Redrawn only when its data changes. */
export function Chart(props: Props) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const colours = theme.value;

  useEffect(() => {
    const element = host.current!;
    const made = new uPlot(options(props, element), props.data, element);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: props.height }));
    observer.observe(element);
    const dark = matchMedia('(prefers-color-scheme: dark)');
    const recolour = () => made.redraw(false);
    dark.addEventListener('change', recolour);
    return () => {
      dark.removeEventListener('change', recolour);
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
    // A change of colours needs a new chart; data do not.
  }, [colours]);

  useEffect(() => plot.current?.setData(props.data), [props.data]);

  return <div ref={host} class={`chart ${props.small ? 'small' : ''}`} role="img" aria-label={props.label} data-testid={props.testid} />;
}

/** A colour of the style sheet as the canvas needs it. */
function colour(element: Element, name: string, alpha = 1): string {
  const probe = document.createElement('span');
  probe.style.color = alpha < 1 ? `color-mix(in srgb, var(${name}) ${alpha * 100}%, transparent)` : `var(${name})`;
  element.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function options({ lines, height, small, format }: Props, element: HTMLElement): uPlot.Options {
  const axis = (): Partial<uPlot.Axis> => ({
    stroke: () => colour(element, '--soft'),
    grid: { stroke: () => colour(element, '--line'), width: 1 },
    ticks: { show: false },
    font: '12px "JetBrains Mono Variable", monospace',
  });
  return {
    width: element.clientWidth,
    height,
    padding: [12, 12, 0, 0],
    legend: { show: false },
    cursor: { show: !small, drag: { x: false, y: false }, points: { size: 7 } },
    scales: { x: { time: false, range: (_, min, max) => [Math.min(min, 1), Math.max(max, 2)] }, y: { range: fromZero } },
    axes: [
      // Steps are whole numbers, and so are their ticks.
      { ...axis(), size: 28, grid: { show: false }, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] },
      { ...axis(), size: 56, values: (_, ticks) => ticks.map(format), ...(small && { space: 34 }) },
    ],
    series: [
      {},
      ...lines.map(({ label, colour: name, width, faint, dots }): uPlot.Series => {
        const stroke = () => colour(element, name, faint ? 0.4 : 1);
        return {
          label,
          width: dots ? 0 : width,
          stroke,
          spanGaps: true,
          ...(dots ? { points: { show: true, size: dots, width: 0, fill: stroke } } : { points: { show: Boolean(faint), size: 4, width: 0, fill: stroke } }),
        };
      }),
    ],
  };
}

/** With zero in it, so that a fall looks as large as it is; but log-probabilities lie far below it, and would look flat. */
const fromZero: uPlot.Range.Function = (_, min, max) => {
  if (max < min / 2) return [min + (min - max) * 0.1 - 0.1, max + (max - min) * 0.1 + 0.1];
  return [min < 0 ? min * 1.08 : 0, max > 0 ? max * 1.08 : min < 0 ? 0 : 1];
};
