import { useMemo } from 'preact/hooks';
import type uPlot from 'uplot';
import { curves, latest, mainCurve, type Curve, type Line } from '../curves';
import { duration, loss, plural, rate, sentence, short, speed } from '../format';
import type { Metrics } from '../engine';
import { agreement, inWords, rewardWords, run } from '../store';
import { secondsLeft, tokensPerSecond, type Run } from '../run';
import { Stat } from './bits';
import { Chart, type Line as ChartLine } from './Chart';
import { Generations } from './Generations';
import { HeldOut } from './HeldOut';

const plain = (value: number) => String(Number(value.toPrecision(3)));

/** The run as it goes: figures, the loss, and what the model says along the way. */
export function Progress() {
  const current = run.value;
  if (current.state === 'idle') return null;
  return (
    <div class="progress">
      <Figures current={current} />
      <Kept current={current} />
      <Rose current={current} />
      <Agrees />
      {current.points.length > 0 && <Charts current={current} />}
      {current.warnings.length > 0 && (
        <ul class="warnings" aria-label="Warnings">
          {current.warnings.map(({ message }, index) => (
            <li key={index}>{sentence(inWords(message))}.</li>
          ))}
        </ul>
      )}
      <Generations current={current} />
      <Samples current={current} />
      <HeldOut />
    </div>
  );
}

/** Which evaluation the adapter is of, where a run was to keep the best one. */
function Kept({ current }: { current: Run }) {
  const { config, evals, kept, state } = current;
  if (state !== 'done' || !config?.load_best_model_at_end) return null;
  const best = evals.findLast((one) => one.best);
  if (!best) return null;
  return (
    <p class="hint kept" data-testid="kept">
      {kept === null
        ? 'The last evaluation was the best one: the adapter is that of the last step.'
        : `Kept is the adapter as it was after step ${kept}, when what is held out was at its best${best.loss === null ? '' : `: ${loss(best.loss)}`}.`}
    </p>
  );
}

/** Steps of which the mean tells where a run began and ended. */
const SOME = 3;

/** A run on examples whose loss ended well above where it began: it has unlearnt, and “done” alone would hide that. */
function Rose({ current: { points, state, evals } }: { current: Run }) {
  const isLoss = !evals.some(({ metrics }) => 'reward' in metrics) && !points.some(({ metrics }) => Object.keys(metrics).length);
  if (state !== 'done' || !isLoss || points.length < 3 * SOME) return null;
  const mean = (some: Run['points']) => some.reduce((sum, point) => sum + point.loss, 0) / some.length;
  const [first, last] = [mean(points.slice(0, SOME)), mean(points.slice(-SOME))];
  if (last < 1.2 * first) return null;
  return (
    <p class="hint warning" data-testid="rose">
      The loss rose from {loss(first)} to {loss(last)}: the model is worse at your examples than it was. The learning rate is too high: try a tenth of it.
    </p>
  );
}

/** On how many of the held-out pairs the model is of the person's mind. */
function Agrees() {
  const told = agreement.value;
  if (!told) return null;
  if (told === 'asking') {
    return (
      <p class="agrees hint" data-testid="agreement" data-state="asking">
        Asking the model about the held-out pairs…
      </p>
    );
  }
  const { tuned, base } = told;
  return (
    <p class="agrees" data-testid="agreement" data-state="told">
      {base
        ? `Of ${plural(tuned.pairs, 'held-out pair')} the tuned model agrees with you in ${tuned.agrees}; the base in ${base.agrees}.`
        : `It scores the better answer higher in ${tuned.agrees} of ${plural(tuned.pairs, 'held-out pair')}.`}
    </p>
  );
}

const reward = (told: { metrics: Metrics } | undefined): string => (told?.metrics.reward === undefined ? '–' : plain(told.metrics.reward));

function Figures({ current }: { current: Run }) {
  const last = current.points.at(-1);
  const { evals } = current;
  const held = evals.at(-1);
  // What answers earn says more than the loss, where there is that.
  const earns = [...current.points, ...evals].some(({ metrics }) => 'reward' in metrics);
  const left = secondsLeft(current);
  const tokens = tokensPerSecond(current);
  const step = last?.step ?? 0;
  const failed = current.state === 'failed';
  return (
    <dl class="stats">
      <Stat label="Step" testid="stat-step" value={current.total === null ? String(step) : `${step} / ${current.total}`} />
      {earns ? (
        <>
          <Stat label="Reward" testid="stat-reward" ember value={reward(last)} />
          {held && <Stat label="Held-out reward" testid="stat-eval" value={evals.length > 1 ? `${reward(evals[0])} → ${reward(held)}` : reward(held)} />}
        </>
      ) : (
        <>
          <Stat label="Loss" testid="stat-loss" ember value={last ? loss(last.loss) : '–'} />
          {held?.loss != null && <Stat label="Validation" testid="stat-eval" value={loss(held.loss)} />}
        </>
      )}
      <Stat label="Tokens / s" testid="stat-tokens-per-second" value={tokens === null ? '–' : speed(tokens)} />
      <Stat label="Time left" testid="stat-eta" value={current.state === 'done' ? '0 s' : left === null || failed ? '–' : duration(left)} />
      <Stat label="Weights trained" testid="stat-trainable" value={current.trainable ? short(current.trainable) : '–'} />
    </dl>
  );
}

function Charts({ current }: { current: Run }) {
  const { points, evals } = current;
  const looks = Boolean(current.config?.load_best_model_at_end);
  const shown = useMemo(() => {
    const held = new Map(evals.map((point) => [point.step, point.loss]));
    const none = points.map(() => null);
    const alone = (values: (number | null)[], rest: Partial<Line> = {}): Line[] => [{ name: '', values, smooth: none, held: none, ...rest }];
    return {
      steps: points.map(({ step }) => step),
      loss: alone(
        points.map((p) => p.loss),
        { smooth: points.map((p) => p.smooth), held: points.map(({ step }) => held.get(step) ?? null) },
      ),
      // Its line is there from the start: a chart cannot get one later.
      best: looks ? points.map(({ step }) => (evals.findLast(({ best }) => best)?.step === step ? (held.get(step) ?? null) : null)) : null,
      rate: alone(points.map((p) => p.learningRate)),
      norm: alone(points.map((p) => p.gradNorm)),
      named: curves(points, evals, rewardWords),
    };
  }, [points, evals, looks]);
  const { steps, named } = shown;
  const main = mainCurve(named);
  const curve = (one: Curve) => <Figure key={`${one.name} ${one.lines.length}`} steps={steps} name={one.name} lines={one.lines} format={plain} />;
  const own = (
    <>
      <Figure steps={steps} name="Learning rate" lines={shown.rate} format={rate} axis={rate} raw />
      <Figure steps={steps} name="Gradient norm" lines={shown.norm} format={loss} raw />
    </>
  );
  return (
    <>
      <div class="charts">
        {main ? (
          <Figure key="main" large testid="reward-chart" steps={steps} name={main.name} lines={main.lines} format={plain} />
        ) : (
          <Figure key="loss" large testid="loss-chart" steps={steps} name="Loss" lines={shown.loss} best={shown.best} format={loss} />
        )}
        <div class="small-charts">{named.length ? named.filter((one) => one.first && one !== main).map(curve) : own}</div>
      </div>
      {named.length > 0 && (
        <div class="small-charts more">
          {named.filter(({ first }) => !first).map(curve)}
          {main && <Figure steps={steps} name="Loss" lines={shown.loss} best={shown.best} format={loss} />}
          {own}
        </div>
      )}
    </>
  );
}

/** The colours of a chart's lines: ember for what is trained towards, steel for what it is compared with. */
const colours = ['--ember', '--steel'];

interface FigureProps {
  steps: number[];
  name: string;
  lines: Line[];
  format: (value: number) => string;
  /** The same along the axis, where it is another. */
  axis?: (value: number) => string;
  testid?: string;
  large?: boolean;
  /** Whether it is drawn as it is, without an average. */
  raw?: boolean;
  /** The best evaluation at its step, where the run goes by that. */
  best?: (number | null)[] | null;
}

/** One chart: a line or two over the steps, as they are and smoothed, and what is held out as dots. */
function Figure({ steps, name, lines, format, axis = plain, testid, large = false, raw = false, best = null }: FigureProps) {
  const data = useMemo(() => [steps, ...lines.flatMap((line) => (raw ? [line.values] : [line.values, line.smooth, line.held])), ...(best ? [best] : [])] as uPlot.AlignedData, [steps, lines, best]);
  const held = !raw && lines.some((line) => latest(line.held) !== null);
  const now = lines.map((line) => {
    const value = raw ? (line.values.at(-1) ?? null) : latest(line.values);
    return `${line.name} ${value === null ? 'not finite' : format(value)}`.trim();
  });
  const first = lines[0]!.values.find((value) => value !== null);
  const series = lines.flatMap((_, index): ChartLine[] => {
    const colour = raw ? '--steel' : colours[index]!;
    if (raw) return [{ label: name, colour, width: 1.8 }];
    return [
      { label: 'each step', colour, width: 1.5, faint: true },
      { label: 'smoothed', colour, width: large ? 2.5 : 1.8 },
      { label: 'validation', colour: lines.length > 1 ? colour : '--steel', width: 2, dots: 8 },
    ];
  });
  if (best) series.push({ label: 'best', colour: '--ember', width: 2, dots: 11 });
  return (
    <figure>
      <figcaption>
        {name} {large && <span class="key raw">each step</span>} {large && <span class="key smooth">smoothed</span>}
        {large && held && <span class="key held">validation</span>}
        {large && best?.some((value) => value !== null) && <span class="key best">best</span>}
        {!large && lines.length === 1 && <b>{now[0]}</b>}
        {lines.length > 1 && lines.map((line, index) => <span key={line.name} class={`key ${index ? 'second' : ''}`}>{now[index]}</span>)}
      </figcaption>
      <Chart
        {...(testid && { testid })}
        small={!large}
        label={large ? `${name} by step: from ${format(first ?? 0)} to ${now[0]} at step ${steps.at(-1)}` : `${name}, now ${now.join(', ')}`}
        height={large ? 260 : 104}
        data={data}
        format={axis}
        lines={series}
      />
    </figure>
  );
}

/** Answers of each question that are shown, the latest first. */
const SHOWN = 3;

/** What the model says to the questions that it is asked along the way. */
function Samples({ current }: { current: Run }) {
  if (!current.samples.length) return null;
  const questions = [...new Set(current.samples.map(({ prompt }) => prompt))];
  return (
    <section class="samples" data-testid="samples" aria-label="What it says along the way">
      <h3>What it says along the way</h3>
      <ul>
        {questions.map((question) => (
          <li key={question}>
            <p class="asked" dir="auto">
              {question}
            </p>
            <ol>
              {current.samples
                .filter(({ prompt }) => prompt === question)
                .slice(-SHOWN)
                .reverse()
                .map(({ step, text }) => (
                  <li key={step}>
                    <small>Step {step}</small>
                    <p dir="auto">{text.trim() || 'nothing'}</p>
                  </li>
                ))}
            </ol>
          </li>
        ))}
      </ul>
    </section>
  );
}
