import { count, plural } from '../format';
import { answers, device, lab, labBusy, model, run, used } from '../store';
import { nameOf } from '../states';
import { setTheme, theme, type Theme } from '../theme';
import { Icon, Logo } from './bits';
import { Privacy } from './Privacy';

export function Header() {
  return (
    <header class="top">
      <a class="brand" href="#app" aria-label="Tunesmith, to the top">
        <Logo />
        <span>Tunesmith</span>
      </a>
      <Steps />
      <div class="top-end">
        <DeviceChip />
        <Privacy />
        <ThemeButton />
      </div>
    </header>
  );
}

/** The four steps, and how far each one is. */
function Steps() {
  const { state, points, total } = run.value;
  const step = points.at(-1)?.step ?? 0;
  const { methods, outcomes } = lab.value;
  const going = labBusy.value ? `lab ${outcomes.length}/${methods.length}` : state === 'idle' || state === 'done' ? '' : total ? `${step}/${total}` : count(step);
  const steps = [
    { id: 'model', name: 'Model', note: model.value.state === 'loading' ? 'loading' : '', done: model.value.state === 'ready' },
    { id: 'teach', name: 'Teach', note: used.value.length ? count(used.value.length) : '', done: used.value.length > 0 },
    { id: 'train', name: 'Train', note: going, done: state === 'done' },
    { id: 'try', name: 'Try', note: '', done: answers.value.tuned.state === 'done' },
  ];
  return (
    <nav class="steps" aria-label="Steps">
      <ol>
        {steps.map(({ id, name, note, done }, index) => (
          <li key={id}>
            <a href={`#${id}`} class={done ? 'done' : ''}>
              <span class="steps-number">{done ? <Icon name="check" /> : index + 1}</span>
              {name}
              {note && <small>{note}</small>}
            </a>
          </li>
        ))}
      </ol>
    </nav>
  );
}

function DeviceChip() {
  const current = device.value;
  const text =
    current.state === 'starting' ? 'Looking for the GPU' : current.state === 'blocked' ? 'No engine' : current.device.software ? 'Software' : nameOf(current.device);
  const title = current.state === 'ready' ? `${nameOf(current.device)} (${current.device.backend}), ${plural(current.device.features.length, 'feature')}` : text;
  return (
    <span class={`chip device ${current.state}`} data-testid="device-chip" data-state={current.state} title={title}>
      <Icon name="chip" />
      <span>{text}</span>
    </span>
  );
}

const next: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' };
const themeIcon = { system: 'system', light: 'sun', dark: 'moon' } as const;

function ThemeButton() {
  const label = `Colours: ${theme.value === 'system' ? 'as the system' : theme.value}. Change to ${next[theme.value] === 'system' ? 'as the system' : next[theme.value]}`;
  return (
    <button type="button" class="icon-button" aria-label={label} title={label} data-testid="theme" onClick={() => setTheme(next[theme.value])}>
      <Icon name={themeIcon[theme.value]} />
    </button>
  );
}
