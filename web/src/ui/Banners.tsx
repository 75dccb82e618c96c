import { restart } from '../actions/session';
import { banner, nameOf, software, stateOf, titleOf, type Words } from '../states';
import { device, inWords, problem, speeds } from '../store';
import { Button, Icon } from './bits';

/** What keeps the engine from running here, or makes it slow. */
export function DeviceBanner() {
  const current = device.value;
  if (current.state === 'starting') return null;
  if (current.state === 'blocked') {
    const words = banner(current.problem);
    return words && <Notice words={words} />;
  }
  if (!current.device.software) return null;
  return <Notice words={software(current.device, speeds.value[nameOf(current.device)] ?? null)} />;
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
    <div class="banner stop floating" data-testid="error-banner" data-code={stateOf(failure)} role="alert">
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
