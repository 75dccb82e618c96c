import { useMemo } from 'preact/hooks';
import type uPlot from 'uplot';
import { duration, loss, rate, short, speed } from '../format';
import { run } from '../store';
import { secondsLeft, tokensPerSecond, type Run } from '../run';
import { Stat } from './bits';
import { Chart } from './Chart';

const norm = (value: number | null) => (value === null ? 'not finite' : loss(value));

/** The run as it goes: figures, the loss, and what the model says along the way. */
export function Progress() {
  const current = run.value;
  if (current.state === 'idle') return null;
  return (
    <div class="progress">
      <Figures current={current} />
      {current.points.length > 0 && <Charts current={current} />}
      {current.warnings.length > 0 && (
        <ul class="warnings" aria-label="Warnings">
          {current.warnings.map(({ message }, index) => (
            <li key={index}>{message}</li>
          ))}
        </ul>
      )}
      <Samples current={current} />
    </div>
  );
}

function Figures({ current }: { current: Run }) {
  const last = current.points.at(-1);
  const held = current.evals.at(-1);
  const left = secondsLeft(current);
  const tokens = tokensPerSecond(current);
  const step = last?.step ?? 0;
  const finished = current.state === 'done' || current.state === 'failed';
  return (
    <dl class="stats">
      <Stat label="Step" testid="stat-step" value={current.total === null ? String(step) : `${step} / ${current.total}`} />
      <Stat label="Loss" testid="stat-loss" ember value={last ? loss(last.loss) : '–'} />
      {held && <Stat label="Validation" testid="stat-eval" value={loss(held.loss)} />}
      <Stat label="Tokens / s" testid="stat-tokens-per-second" value={tokens === null ? '–' : speed(tokens)} />
      <Stat label="Time left" testid="stat-eta" value={finished ? '0 s' : left === null ? '–' : duration(left)} />
      <Stat label="Weights trained" testid="stat-trainable" value={current.trainable ? short(current.trainable) : '–'} />
    </dl>
  );
}

function Charts({ current }: { current: Run }) {
  const { points, evals } = current;
  const data = useMemo(() => {
    const steps = points.map(({ step }) => step);
    const held = new Map(evals.map((point) => [point.step, point.loss]));
    return {
      loss: [steps, points.map((p) => p.loss), points.map((p) => p.smooth), steps.map((step) => held.get(step) ?? null)] as uPlot.AlignedData,
      rate: [steps, points.map((p) => p.learningRate)] as uPlot.AlignedData,
      norm: [steps, points.map((p) => p.gradNorm)] as uPlot.AlignedData,
    };
  }, [points, evals]);
  const first = points[0]!;
  const last = points.at(-1)!;
  return (
    <div class="charts">
      <figure>
        <figcaption>
          Loss <span class="key raw">each step</span> <span class="key smooth">smoothed</span>
          {evals.length > 0 && <span class="key held">validation</span>}
        </figcaption>
        <Chart
          testid="loss-chart"
          label={`Loss by step: from ${loss(first.loss)} to ${loss(last.loss)} at step ${last.step}`}
          height={260}
          data={data.loss}
          format={(n) => String(Number(n.toPrecision(3)))}
          lines={[
            { label: 'Loss', colour: '--ember', width: 1.5, faint: true },
            { label: 'Smoothed', colour: '--ember', width: 2.5 },
            { label: 'Validation', colour: '--steel', width: 2, dots: true },
          ]}
        />
      </figure>
      <div class="small-charts">
        <figure>
          <figcaption>
            Learning rate <b>{rate(last.learningRate)}</b>
          </figcaption>
          <Chart small label={`Learning rate, now ${rate(last.learningRate)}`} height={104} data={data.rate} format={rate} lines={[{ label: 'Learning rate', colour: '--steel', width: 1.8 }]} />
        </figure>
        <figure>
          <figcaption>
            Gradient norm <b>{norm(last.gradNorm)}</b>
          </figcaption>
          <Chart small label={`Gradient norm, now ${norm(last.gradNorm)}`} height={104} data={data.norm} format={(n) => String(Number(n.toPrecision(3)))} lines={[{ label: 'Gradient norm', colour: '--steel', width: 1.8 }]} />
        </figure>
      </div>
    </div>
  );
}

function Samples({ current }: { current: Run }) {
  if (!current.samples.length) return null;
  const latest = current.samples.slice(-4).reverse();
  return (
    <div class="samples">
      <h3>What it says along the way</h3>
      <ol>
        {latest.map(({ step, prompt, text }) => (
          <li key={`${step} ${prompt}`}>
            <small>Step {step}</small>
            <p class="asked">{prompt}</p>
            <p>{text}</p>
          </li>
        ))}
      </ol>
    </div>
  );
}
