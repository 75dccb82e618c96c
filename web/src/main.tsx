import './styles/base.css';
import './styles/parts.css';
import './styles/steps.css';
import './styles/rewards.css';
import './styles/train.css';
import './styles/lab.css';
import './styles/runs.css';
import './styles/try.css';
import 'uplot/dist/uPlot.min.css';
import { render } from 'preact';
import { followAdapters } from './actions/adapters';
import { followAgreement } from './actions/agreement';
import { followSelection } from './actions/data';
import { fromRecord, keepEveryChange } from './actions/keep';
import { isBlank } from './examples';
import { addTraffic, open } from './actions/session';
import { mendByItself } from './actions/mend';
import { followRuns } from './actions/runs';
import { followSizes } from './actions/sizes';
import { followEstimate } from './actions/train';
import { keepFocus } from './focus';
import { load, save } from './persist';
import { toProblem } from './protocol';
import { busy, problem, traffic } from './store';
import { restoreTheme } from './theme';
import { watchTraffic } from './traffic';
import { App } from './ui/App';

window.tunesmithEvents = [];
restoreTheme();
// A file that is dropped beside the places for it would open in place of the page.
window.addEventListener('dragover', (event) => {
  if (!event.defaultPrevented && event.dataTransfer) event.dataTransfer.dropEffect = 'none';
  event.preventDefault();
});
window.addEventListener('drop', (event) => event.preventDefault());
watchTraffic((requests, sent) => addTraffic('page', requests, sent));
document.addEventListener('securitypolicyviolation', () => {
  traffic.value = { ...traffic.value, blocked: traffic.value.blocked + 1 };
});

/** Brings back what the last visit left, then keeps every change, and takes over those of other tabs. */
async function restore(): Promise<void> {
  // What is known of each row once is known when all of them are shown.
  const saved = await load((rows) => rows.forEach(isBlank));
  if (saved) fromRecord(saved);
  keepEveryChange({ load, save, tabs: new BroadcastChannel('tunesmith'), notKept });
}

function notKept(thrown: unknown): void {
  problem.value = {
    code: 'storage-full',
    message: `Your examples, preferences, prompts and settings could not be kept for the next visit (${toProblem(thrown).message}).`,
    help: 'They are safe in this tab. Download them before you close it.',
  };
}

// Escape puts a message away that stands over the page.
window.addEventListener('keydown', ({ key }) => {
  if (key === 'Escape') problem.value = null;
});

// A run in progress is worth a question before the tab closes.
window.addEventListener('beforeunload', (event) => {
  if (busy.value) event.preventDefault();
});

await restore().catch(notKept);
keepFocus();
render(<App />, document.getElementById('app')!);
followSelection();
followEstimate();
followSizes();
followAdapters();
followAgreement();
followRuns();
mendByItself();
void open();

if (import.meta.env.PROD && isSecureContext) void navigator.serviceWorker?.register('./sw.js').catch(() => undefined);
