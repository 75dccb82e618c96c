import { restart } from '../actions/session';
import { banner, nameOf, software, titleOf, type Words } from '../states';
import { device, inWords, mending, problem, speeds } from '../store';
import { Button, Icon } from './bits';

/** What keeps the engine from running here, or makes it slow. */
export function DeviceBanner() {
  const current = device.value;
  if (mending.value) return <Mending />;
  if (current.state === 'starting') return null;
  if (current.state === 'blocked') {
    const words = banner(current.problem);
    return words && <Notice words={words} />;
  }
  if (!current.device.software) return null;
  return <Notice words={software(current.device, speeds.value[nameOf(current.device)] ?? null)} />;
}

/** What the page does by itself when the GPU went away. */
function Mending() {
  const { memory, step, trains } = mending.value!;
  return (
    <div class="banner note" data-testid="mending" role="status">
      <Icon name="chip" />
      <div>
        <h2>{memory ? 'The GPU ran out of memory' : 'The GPU went away'}</h2>
        <p>
          The page takes it again and loads the model{step === null ? '' : `; the run then goes on from step ${step}, which is kept`}. {trains && step === null ? 'Your examples and settings are kept.' : 'Nothing of yours is lost.'}
        </p>
      </div>
    </div>
  );
}

function Notice({ words }: { words: Words }) {
  return (
    <div class={`banner ${words.tone}`} data-testid="device-banner" data-state={words.state} role={words.tone === 'stop' ? 'alert' : 'note'}>
      <Icon name={words.tone === 'stop' ? 'warning' : 'chip'} />
      <div>
        <h2>{words.title}</h2>
        <p>{words.body}</p>
        <p class="fix">{words.fix}</p>
        {words.restart && <Button onClick={() => void restart()}>Start the engine again</Button>}
      </div>
    </div>
  );
}

/** The latest thing that did not work. */
export function ErrorBanner() {
  const failure = problem.value;
  if (!failure) return null;
  return (
    <div class="banner stop floating" data-testid="error-banner" data-code={failure.code} role="alert">
      <Icon name="warning" />
      <div>
        <h2>{titleOf(failure)}</h2>
        <p>{inWords(failure.message)}</p>
        {failure.help && <p class="fix">{inWords(failure.help)}</p>}
      </div>
      <button type="button" class="icon-button" aria-label="Dismiss" onClick={() => (problem.value = null)}>
        <Icon name="close" />
      </button>
    </div>
  );
}
